"""The application: its commands, and how every error becomes a message and an exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from modelcheck.cli import (
    apply,
    bench,
    check_report,
    diagnose,
    history,
    inspect,
    search,
    targets,
    transforms,
    tune,
    verify,
)
from modelcheck.cli.options import grouped
from modelcheck.errors import ModelcheckError, OutOfMemory, UsageError, printable

app = typer.Typer(
    name="modelcheck",
    help="Optimize ONNX models for cv2.dnn, and prove that they are still the same model there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Panels for the many options of a command; but the front page answers without loading rich.
    rich_markup_mode="rich" if len(sys.argv) > 2 else None,
)
_COMMANDS: dict[str, tuple[Callable[..., int], str]] = {
    "apply": (grouped(apply.apply), "Optimize a model; write it only if it passes."),
    "verify": (grouped(verify.verify), "Judge a pair of models, or one by itself."),
    "diagnose": (grouped(diagnose.diagnose), "Which layer it is, and the smallest repro."),
    "search": (grouped(search.search), "The fastest form that is still the same model, proven."),
    "tune": (grouped(tune.tune), "How this machine runs a model fastest, proven."),
    "bench": (grouped(bench.bench), "What models cost where they run, side by side."),
    "targets": (targets.targets, "Where models can run here, and why not elsewhere."),
    "inspect": (inspect.inspect, "What is in a model, and what engines get wrong."),
    "transforms": (transforms.transforms, "What can be applied, with options."),
    "history": (history.history, "Earlier verdicts, and what changed since the last pass."),
    "check-report": (check_report.check_report, "Is this the model that passed?"),
}
for _name, (_command, _summary) in _COMMANDS.items():
    app.command(name=_name, short_help=_summary)(_command)


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
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # a locale without 'µ' is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except BrokenPipeError:
        return 1
    except typer.TyperException as error:
        if not arguments:  # the message is the help page
            print(error.format_message())
            return 2
        failure = _usage_error(error, arguments)
    except ModelcheckError as error:
        failure = error
    except (KeyboardInterrupt, typer.Abort):
        failure = _Interrupted("interrupted; nothing was written")
    except MemoryError:
        failure = OutOfMemory("this process ran out of memory; nothing was written")
    except Exception as error:
        failure = _internal_error(error)
    return _say(failure, as_json="--json" in arguments)


def _leave(signum: int, frame: object) -> None:
    """Unwind as for Ctrl-C, so that children are buried and folders removed."""
    raise SystemExit(128 + signum)


class _Interrupted(ModelcheckError):
    """Ctrl-C."""

    exit_code = 130


def _say(error: ModelcheckError, *, as_json: bool) -> int:
    """The message on stderr; for programs that read stdout as JSON, an object there."""
    if as_json:
        document = {
            "schema": "modelcheck.error/1",
            "exit_code": error.exit_code,
            "error": {"where": error.where, "what": error.what, "remedy": error.remedy},
        }
        print(json.dumps(document, indent=1))
    lines = (printable(line, limit=2000) for line in str(error).split("\n"))
    print("modelcheck: " + "\n".join(lines), file=sys.stderr)
    return error.exit_code


def _internal_error(error: Exception) -> ModelcheckError:
    """A fault of ours: where it happened, and how to see all of it."""
    if os.environ.get("MODELCHECK_TRACEBACK"):
        raise error
    *_, frame = traceback.extract_tb(error.__traceback__)
    return ModelcheckError(
        f"internal error: {type(error).__name__}: {error}",
        remedy=f"in {Path(frame.filename).name}, line {frame.lineno}. Please report it, with what "
        "MODELCHECK_TRACEBACK=1 shows.",
    )


def _usage_error(error: typer.TyperException, arguments: list[str]) -> ModelcheckError:
    command = f"modelcheck {arguments[0]}" if arguments[0] in _COMMANDS else "modelcheck"
    return UsageError(error.format_message(), remedy=f"`{command} --help` says what there is.")
