"""What one judged pair leaves in the file of rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One pair, judged on one engine. `key` tells whether it was judged before."""

    key: str
    model: str
    engine: str
    sort: str
    kind: str
    seed: int
    moved: float  # of the scale, in float64
    outcome: str
    check: str  # the worst one, of a verdict that is no pass
    message: str
    seconds: float
    # Of an equivalent form that was not accepted: how far OpenCV alone lies from float64 with it,
    # on the first sample; infinite where it dies.
    on_cv2: float | None = None


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class PeerRow:
    """What a peer says of one pair: whether the two models differ."""

    peer: str
    model: str
    sort: str
    kind: str
    seed: int
    caught: bool
    why: str  # what ailed it, where it could not tell

    @property
    def key(self) -> str:
        return f"{self.peer}|{self.model}|{self.kind}|{self.seed}"


def read_peer_rows(path: Path) -> list[PeerRow]:
    if not path.exists():
        return []
    return [PeerRow(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
