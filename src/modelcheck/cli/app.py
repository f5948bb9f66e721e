"""The application: its commands, and how every error becomes a message and an exit code."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from modelcheck.cli import apply, check_report, inspect, transforms, verify
from modelcheck.cli.options import grouped
from modelcheck.errors import ModelcheckError, did_you_mean, printable

app = typer.Typer(
    name="modelcheck",
    help="Optimize ONNX models for cv2.dnn, and prove that they are still the same model there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(name="apply")(grouped(apply.apply))
app.command(name="verify")(grouped(verify.verify))
app.command(name="inspect")(inspect.inspect)
app.command(name="transforms")(transforms.transforms)
app.command(name="check-report")(check_report.check_report)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib import metadata

        print(f"modelcheck {metadata.version('modelcheck')}")
        raise typer.Exit()


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit codes are those of docs/exit-codes.md."""
    signal.signal(signal.SIGTERM, _leave)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except ModelcheckError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", 130)
    except BrokenPipeError:
        return 1
    except typer.TyperException as error:
        return _usage_error(error, arguments)
    except typer.Abort:
        return _say("interrupted; nothing was written", 130)
    except MemoryError:
        return _say("this process ran out of memory; nothing was written", 6)


def _leave(signum: int, frame: object) -> None:
    """Unwind as for Ctrl-C, so that children are buried and folders removed."""
    raise SystemExit(128 + signum)


def _say(message: str, code: int) -> int:
    lines = (printable(line, limit=2000) for line in message.split("\n"))
    print("modelcheck: " + "\n".join(lines), file=sys.stderr)
    return code


def _usage_error(error: Any, arguments: list[str]) -> int:
    message = error.format_message()
    name = getattr(error, "option_name", None)
    if name and "Did you mean" not in message:
        known = [o for p in getattr(error.ctx.command, "params", []) for o in p.opts]
        hint = did_you_mean(str(name), known)
        message += f"\n  {hint}" if hint and "No such option" in message else ""
    return _say(f"{message}\n  `modelcheck --help` says what there is.", 2)
