"""The command line. Commands live one to a file; what is heavy is imported inside them."""

from __future__ import annotations


def main() -> None:
    """The `modelcheck` command."""
    import gc
    import os
    import signal

    # While it imports there is nothing to unwind; `run` takes over.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))
    from modelcheck.cli.app import run
    from modelcheck.cli.later import defer_sympy

    defer_sympy()
    code = run()
    gc.freeze()  # else Python looks through everything for garbage before it ends: 0.25 s
    raise SystemExit(code)
