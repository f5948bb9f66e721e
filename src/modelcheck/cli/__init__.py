"""The command line. Commands live one to a file; what is heavy is imported inside them."""

from __future__ import annotations


def main() -> None:
    """The `modelcheck` command."""
    from modelcheck.cli.app import run

    raise SystemExit(run())
