"""The one schema of recipe, policy and *.modelcheck.toml files.

    [data]      path, calibration, count, shapes, allow-synthetic, [data.preprocessing]
    [[steps]]   transform, and its options
    [[targets]] device, engine, threads, python, optional, and limits of its own
    [limits]    min-agreement, min-sqnr, max-error, limit, min-speedup, max-slowdown,
                max-fallback, max-p50, max-p90, max-p99, min-throughput, max-first-inference,
                max-peak-memory, max-file-size, search-inputs, max-worst-error, claim,
                checks, baseline, time-budget, since-last, search-radius
    [[metrics]] kind, min or max, and its options; of one target: [[targets.metrics]]
    [[models]]  original, candidate            (in *.modelcheck.toml)
    seed

Keys may be written with '-' or '_'. Unknown keys are errors. Paths are relative to the file.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelcheck.recipe.settings import Baseline, CheckKind
from modelcheck.targets import Device, Engine
from modelcheck.transforms import Claim

# TOML has types, so `threads = "2"` or `optional = "no"` is a slip, not a spelling.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Size = Annotated[int, Field(strict=True, ge=0)]
PerChannel = Number | tuple[Number, Number, Number]


class Table(BaseModel):
    """A TOML table: its keys with '-' or '_', and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        spelled = {key.replace("-", "_"): value for key, value in table.items()}
        if len(spelled) != len(table):
            twice = next(k for k in table if "-" in k and k.replace("-", "_") in table)
            raise ValueError(f"key '{twice}' is given twice, once with '_'")
        return spelled


class PreprocessingTable(Table):
    """How an image becomes an input; see data.Preprocessing for the meaning."""

    size: tuple[Whole, Whole] | None = None
    resize: str = "stretch"
    shorter_side: Whole | None = None
    pad_value: PerChannel = 0.0
    rgb: Flag = False
    gray: Flag = False
    mean: PerChannel = 0.0
    std: PerChannel = 1.0
    layout: str = "NCHW"
    dtype: str | None = None


class DataTable(Table):
    path: str | None = None
    calibration: str | None = None
    count: Annotated[int, Field(strict=True, ge=1)] | None = None
    shapes: dict[str, tuple[Size, ...]] = {}
    allow_synthetic: Flag = False
    preprocessing: PreprocessingTable | None = None


class LimitKeys(Table):
    """The limits that may stand in [limits] and, for one target, in [[targets]]."""

    min_agreement: Number | str | None = None
    min_sqnr: Number | None = None
    max_error: Number | str | None = None
    limit: str | None = None
    any_of: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    min_speedup: Number | None = None
    max_slowdown: Number | str | None = None
    max_fallback: Number | str | None = None
    # With their units: '15ms', '60/s', '200MiB' (judge.budgets). A bare number is told to have one.
    max_p50: Number | str | None = None
    max_p90: Number | str | None = None
    max_p99: Number | str | None = None
    min_throughput: Number | str | None = None
    max_first_inference: Number | str | None = None
    max_peak_memory: Number | str | None = None
    max_file_size: Number | str | None = None
    search_inputs: Size | None = None
    max_worst_error: Number | None = None


class LimitsTable(LimitKeys):
    claim: Claim | None = None
    checks: Annotated[tuple[CheckKind, ...], Field(min_length=1)] | None = None
    baseline: Baseline | None = None
    time_budget: Number | str | None = None
    since_last: Flag = False
    search_radius: Number | None = None


class TargetTable(LimitKeys):
    device: Device = Device.CPU
    engine: Engine = Engine.AUTO
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    python: str | None = None
    optional: Flag = False
    metrics: tuple[dict[str, Any], ...] = ()


class ModelsTable(Table):
    original: str
    candidate: str | None = None


class RecipeFile(Table):
    """A whole file."""

    seed: Size | None = None
    data: DataTable = DataTable()
    steps: tuple[dict[str, Any], ...] = ()
    targets: tuple[TargetTable, ...] = ()
    limits: LimitsTable = LimitsTable()
    metrics: tuple[dict[str, Any], ...] = ()
    models: tuple[ModelsTable, ...] = ()
