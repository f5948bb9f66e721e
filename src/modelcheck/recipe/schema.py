"""The one schema of recipe, policy and *.modelcheck.toml files.

    [data]      path, calibration, count, shapes, allow-synthetic, [data.preprocessing]
    [[steps]]   transform, and its options
    [[targets]] device, engine, threads, python, optional, and limits of its own
    [limits]    min-agreement, min-sqnr, max-error, limit, min-speedup, max-slowdown,
                claim, checks, baseline, time-budget
    [[models]]  original, candidate            (in *.modelcheck.toml)
    seed

Keys may be written with '-' or '_'. Unknown keys are errors. Paths are relative to the file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Number | tuple[Number, Number, Number]


class Table(BaseModel):
    """A TOML table: its keys with '-' or '_', and no others."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)

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

    size: tuple[int, int] | None = None
    resize: str = "stretch"
    shorter_side: int | None = None
    pad_value: Number = 0.0
    rgb: bool = False
    gray: bool = False
    mean: PerChannel = 0.0
    std: PerChannel = 1.0
    layout: str = "NCHW"
    dtype: str | None = None


class DataTable(Table):
    path: str | None = None
    calibration: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    shapes: dict[str, tuple[int, ...]] = {}
    allow_synthetic: bool = False
    preprocessing: PreprocessingTable | None = None


class LimitKeys(Table):
    """The limits that may stand in [limits] and, for one target, in [[targets]]."""

    min_agreement: float | str | None = None
    min_sqnr: float | None = None
    max_error: float | None = None
    limit: str | None = None
    any_of: tuple[str, ...] | None = None
    min_speedup: float | None = None
    max_slowdown: float | str | None = None


class LimitsTable(LimitKeys):
    claim: Literal["exact", "precision", "lossy"] | None = None
    checks: tuple[Literal["equivalence", "speed"], ...] | None = None
    baseline: Literal["same", "best"] | None = None
    time_budget: float | str | None = None


class TargetTable(LimitKeys):
    device: str = "cpu"
    engine: str = "auto"
    threads: int | None = None
    python: str | None = None
    optional: bool = False


class ModelsTable(Table):
    original: str
    candidate: str | None = None


class RecipeFile(Table):
    """A whole file."""

    seed: int | None = None
    data: DataTable = DataTable()
    steps: tuple[dict[str, Any], ...] = ()
    targets: tuple[TargetTable, ...] = ()
    limits: LimitsTable = LimitsTable()
    models: tuple[ModelsTable, ...] = ()
