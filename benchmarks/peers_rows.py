"""What the comparison with other tools leaves in its file of rows, a line each as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

ORIGINAL, OURS, NET_QUANTIZE = "original", "modelcheck search", "cv2-net-quantize"


class Outcome(StrEnum):
    """What became of a transform."""

    MADE = "made"
    REFUSED = "refused"
    DIED = "died"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    NO_ENVIRONMENT = "no environment"
    NOT_APPLICABLE = "not applicable"  # the same as another peer, on this model


@dataclass(frozen=True)
class Made:
    """One transform of one model by one peer, in a process of its own."""

    model: str
    peer: str
    samples: int  # asked for; a part of them calibrates
    packages: str  # with versions, and the script that calls them
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    digest: str = ""  # of the file made

    @property
    def key(self) -> tuple[object, ...]:
        return self.model, self.peer, self.samples


@dataclass(frozen=True)
class Judged:
    """What one OpenCV makes of a candidate, on samples that neither calibrated nor chose."""

    model: str
    peer: str
    samples: int
    digest: str
    column: str
    runs: bool
    reason: str = ""  # why it does not
    db: float = float("nan")  # SQNR of the worst output
    agreement: float | None = None  # of top classes, where there are such
    right: bool = False
    judged: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        return self.model, self.peer, self.samples, self.column


@dataclass(frozen=True)
class Raced:
    """How fast a candidate is there, by one interleaved race with the original and all others."""

    model: str
    peer: str
    samples: int
    digest: str
    column: str
    threads: int
    seconds: float  # the median of a forward; NaN: it gave no time, for the reason
    ratio: float  # over the original on its fastest engine of that OpenCV; NaN: it runs on none
    error: float  # the ratio's standard error
    reason: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        return self.model, self.peer, self.samples, self.column, self.threads


@dataclass(frozen=True)
class Machine:
    """What all figures hang on. `opencv`: versions by interpreter."""

    processor: str
    cpus: int
    opencv: str
    timeout_s: float
    memory_bytes: int

    @property
    def key(self) -> tuple[object, ...]:
        return ()


Row = Made | Judged | Raced | Machine
T = TypeVar("T", Made, Judged, Raced, Machine)
_KINDS = {kind.__name__.lower(): kind for kind in (Made, Judged, Raced, Machine)}


class Rows:
    """A file of rows; of two with the same key the later one holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[str, tuple[object, ...]], Row] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                fields = json.loads(line)
                kind = fields.pop("kind")
                if "outcome" in fields:
                    fields["outcome"] = Outcome(fields["outcome"])
                row = _KINDS[kind](**fields)
                self._rows[kind, row.key] = row

    def add(self, *rows: Row) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            for row in rows:
                kind = type(row).__name__.lower()
                self._rows[kind, row.key] = row
                file.write(json.dumps({"kind": kind, **asdict(row)}) + "\n")

    def get(self, like: T) -> T | None:
        """The row with the key of this one."""
        found = self._rows.get((type(like).__name__.lower(), like.key))
        return found if isinstance(found, type(like)) else None

    def of(self, kind: type[T]) -> list[T]:
        return [row for row in self._rows.values() if isinstance(row, kind)]


def read_json_lines(path: Path | None) -> Iterable[dict[str, object]]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
