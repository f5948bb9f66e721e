"""The options that several commands share, grouped; each command takes a group as one parameter.

`grouped` makes the fields of a group's dataclass into options of the command, so that a command
has a handful of parameters and every option is written once.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

_DATA, _IMAGES, _LIMITS, _RUN = "Data", "Images", "Targets and limits", "Run"
_BUDGETS = "Budgets of speed and size"


@dataclass(frozen=True)
class SampleOptions:
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Samples: .npz, .npy or a folder of images.",
                     rich_help_panel=_DATA),
    ] = None  # fmt: skip
    count: Annotated[
        int | None,
        typer.Option(
            min=1, help="Use COUNT of the samples, drawn with the seed.", rich_help_panel=_DATA
        ),
    ] = None
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT=1x3x224x224", help="Fix a free input shape; may be repeated.",
                     rich_help_panel=_DATA),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class DataOptions(SampleOptions):
    calibration_data: Annotated[
        Path | None,
        typer.Option(help="Samples for calibration only; else --data is split.",
                     rich_help_panel=_DATA),
    ] = None  # fmt: skip
    allow_synthetic: Annotated[
        bool,
        typer.Option(
            "--allow-synthetic", help="Let synthetic inputs calibrate.", rich_help_panel=_DATA
        ),
    ] = False


@dataclass(frozen=True)
class ImageOptions:
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT", help="Resize images to this.", rich_help_panel=_IMAGES
        ),
    ] = None
    resize: Annotated[
        str | None,
        typer.Option(metavar="stretch|crop|letterbox|shorter", help="How to reach the size.",
                     rich_help_panel=_IMAGES),
    ] = None  # fmt: skip
    shorter_side: Annotated[
        int | None,
        typer.Option(help="With resize=shorter: length of the shorter side before the crop.",
                     rich_help_panel=_IMAGES),
    ] = None  # fmt: skip
    pad_value: Annotated[
        float | None, typer.Option(help="Letterbox colour, 0..255.", rich_help_panel=_IMAGES)
    ] = None
    rgb: Annotated[
        bool | None, typer.Option("--rgb/--bgr", help="Channel order.", rich_help_panel=_IMAGES)
    ] = None
    gray: Annotated[
        bool | None, typer.Option("--gray/--color", help="One channel.", rich_help_panel=_IMAGES)
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(metavar="M[,M,M]", help="Subtracted, in the model's channel order.",
                     rich_help_panel=_IMAGES),
    ] = None  # fmt: skip
    std: Annotated[
        str | None,
        typer.Option(metavar="S[,S,S]", help="Divided by.", rich_help_panel=_IMAGES),
    ] = None
    layout: Annotated[str | None, typer.Option(metavar="NCHW|NHWC", rich_help_panel=_IMAGES)] = None


@dataclass(frozen=True)
class EquivalenceOptions:
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE[:ENGINE][:threads=N][:python=P][:optional]",
                     help="Where it shall run, e.g. cpu:classic:threads=1; may be repeated. "
                     "`modelcheck targets` lists what there is.",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    min_agreement: Annotated[
        str | None,
        typer.Option(help="Least top-1 agreement with the original, e.g. 0.99.",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    min_sqnr: Annotated[
        float | None, typer.Option(help="Least SQNR in dB.", rich_help_panel=_LIMITS)
    ] = None
    max_error: Annotated[
        str | None,
        typer.Option(metavar="FRACTION|auto", help="Largest error as a part of the output's scale; "
                     "auto: the model's own noise floor, as claim exact has it.",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    limit: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="E.g. 'min-agreement=0.99|min-sqnr=25' (any of).",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class LimitOptions(EquivalenceOptions):
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND:OPTIONS", help="A metric of the task, e.g. 'top5:min=0.99' or "
                     "'boxes:boxes=b,scores=s,min=0.95'; may be repeated (docs/metrics.md).",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    min_speedup: Annotated[
        float | None,
        typer.Option(
            help="At least so many times as fast as the original.", rich_help_panel=_LIMITS
        ),
    ] = None
    max_slowdown: Annotated[
        str | None,
        typer.Option(metavar="3%", help="At most so much slower.", rich_help_panel=_LIMITS),
    ] = None
    max_fallback: Annotated[
        str | None,
        typer.Option(metavar="20%", help="Largest part of the MACs that may fall back to the CPU.",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    max_p50: Annotated[
        list[str] | None,
        typer.Option(
            metavar="10ms", help="Half of all calls take at most this.", rich_help_panel=_BUDGETS
        ),
    ] = None
    max_p90: Annotated[
        list[str] | None,
        typer.Option(
            metavar="12ms", help="90 % of all calls take at most this.", rich_help_panel=_BUDGETS
        ),
    ] = None
    max_p99: Annotated[
        list[str] | None,
        typer.Option(
            metavar="15ms", help="99 % of all calls take at most this.", rich_help_panel=_BUDGETS
        ),
    ] = None
    min_throughput: Annotated[
        list[str] | None,
        typer.Option(
            metavar="60/s", help="At least so many samples a second.", rich_help_panel=_BUDGETS
        ),
    ] = None
    max_first_inference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="300ms", help="The first call of a fresh process.", rich_help_panel=_BUDGETS
        ),
    ] = None
    max_peak_memory: Annotated[
        list[str] | None,
        typer.Option(
            metavar="200MiB", help="Of a fresh process, with OpenCV.", rich_help_panel=_BUDGETS
        ),
    ] = None
    max_file_size: Annotated[
        list[str] | None,
        typer.Option(metavar="10MiB", help="Of the model as one file.", rich_help_panel=_BUDGETS),
    ] = None
    checks: Annotated[
        str | None,
        typer.Option(metavar="equivalence,speed", help="What is judged.", rich_help_panel=_LIMITS),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option(metavar="same|best", help="Compare speed with the original on the same "
                     "target, or on the fastest.", rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="60s", help="Longest time for timing one target, all its limits.",
                     rich_help_panel=_LIMITS),
    ] = None  # fmt: skip
    since_last: Annotated[
        bool | None,
        typer.Option("--since-last/--no-since-last", help="Fail what is worse than the last "
                     "release on this class of machine.", rich_help_panel=_LIMITS),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class ProcessOptions:
    seed: Annotated[
        int | None, typer.Option(help="For everything random.", rich_help_panel=_RUN)
    ] = None
    timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds that one forward may take.", rich_help_panel=_RUN),
    ] = 120.0
    memory_limit: Annotated[
        int,
        typer.Option(min=0, help="MiB that one process may use; 0: all.", rich_help_panel=_RUN),
    ] = 0
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the verdict.", rich_help_panel=_RUN)
    ] = False
    json: Annotated[
        bool, typer.Option("--json", help="The report as JSON on stdout.", rich_help_panel=_RUN)
    ] = False


@dataclass(frozen=True)
class RunOptions(ProcessOptions):
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Save a report: .json, or .xml for JUnit; may be repeated.",
                     rich_help_panel=_RUN),
    ] = None  # fmt: skip
    ledger: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where runs are recorded, if not .modelcheck/ledger.db.",
                     rich_help_panel=_RUN),
    ] = None  # fmt: skip
    no_ledger: Annotated[
        bool, typer.Option("--no-ledger", help="Record nothing.", rich_help_panel=_RUN)
    ] = False


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Make each dataclass parameter of a command into options named after its fields."""
    hints = typing.get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    flat: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for name, parameter in signature.parameters.items():
        hint = hints[name]
        if not is_dataclass(hint):
            flat.append(parameter.replace(annotation=hint))
            continue
        assert isinstance(hint, type)
        groups[name] = hint
        inner = typing.get_type_hints(hint, include_extras=True)
        flat += [
            inspect.Parameter(
                f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=inner[f.name]
            )
            for f in fields(hint)
        ]

    @functools.wraps(command)
    def flattened(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
        return command(**values)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in flat]
    flattened.__signature__ = signature.replace(parameters=keyword_only)  # type: ignore[attr-defined]
    flattened.__annotations__ = {p.name: p.annotation for p in flat}
    return flattened
