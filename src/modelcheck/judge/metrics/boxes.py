"""Detection: boxes of both sides matched one to one, best score first, as COCO does.

Boxes of at least `min_score` count; two match where they have the same class and overlap by at
least `iou`. With t matches among r boxes of the reference and c of the candidate,
    score = F1 = 2 t / (r + c)
An image on which neither side finds a box says nothing, and is left out of the mean: on a hundred
empty images a dead detector is as good as any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from modelcheck.errors import UsageError
from modelcheck.judge.metrics.base import Array, SampleMetric, misfit, only_item

_MOST_BOXES = 300  # by score; what detectors of the YOLO family keep
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes as corners (K, 4), with the score and the class of each, best score first."""

    corners: Array
    scores: Array
    classes: Array

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, kept: Array) -> Found:
        """Those boxes, in that order."""
        return Found(self.corners[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True, kw_only=True)
class Boxes(SampleMetric):
    """F1 of the boxes, from one tensor or from two.

    boxes (1, K, 4) and scores (1, K, C) or (1, K); or `output` (1, K, 4 + C) or (1, 4 + C, K):
    with `objectness` its fifth column multiplies the scores.
    """

    output: Annotated[str, Field(description="boxes and scores in one tensor")] = ""
    boxes: Annotated[str, Field(description="the output with the boxes")] = ""
    scores: Annotated[str, Field(description="the output with the scores")] = ""
    format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    objectness: Annotated[bool, Field(description="column 5 of `output` is objectness")] = False
    background: Annotated[int | None, Field(ge=0, description="a class that is no object")] = None
    min_score: Annotated[Fraction, Field(description="boxes below do not count")] = 0.5
    # With less overlap than that nearly any box matches any other.
    iou: Annotated[float, Field(ge=0.1, le=1, description="overlap from which two boxes match")] = (
        0.5
    )
    nms: Annotated[
        Fraction | None, Field(description="drop boxes that overlap a better one by more")
    ] = None

    def __post_init__(self) -> None:
        if bool(self.boxes) != bool(self.scores) or bool(self.boxes) == bool(self.output):
            raise UsageError(
                "wants the outputs that hold the boxes",
                remedy="Give boxes and scores, or output for one tensor that holds both.",
            )
        if self.objectness and not self.output:
            raise UsageError("objectness is a column of `output`", remedy="Leave it out.")

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.output,) if self.output else (self.boxes, self.scores)

    def score(
        self, expected: tuple[Array, ...], actual: tuple[Array, ...] | None, label: int | None
    ) -> float | None:
        wanted = self.decode(expected)
        _refuse_inverted(wanted)
        if actual is None:
            return 0.0
        given = self.decode(actual)
        if not len(wanted) and not len(given):
            return None
        return 2 * matches(wanted, given, self.iou) / (len(wanted) + len(given))

    def decode(self, outputs: tuple[Array, ...]) -> Found:
        """The boxes that count, best score first."""
        boxes, scores = self._split(outputs)
        if self.background is not None:
            if not self.background < scores.shape[1]:
                raise misfit(scores.shape, f"there is no class {self.background} to leave out")
            scores = scores.copy()
            scores[:, self.background] = -np.inf
        best = scores.max(axis=1, initial=-np.inf)
        kept = np.flatnonzero(best >= self.min_score)
        kept = kept[np.argsort(-best[kept], kind="stable")]
        if self.nms is None:
            kept = kept[:_MOST_BOXES]
        found = Found(
            _corners(boxes[kept].astype(np.float64), self.format),
            best[kept],
            scores[kept].argmax(axis=1),
        )
        return found if self.nms is None else suppress(found, self.nms)

    def _split(self, outputs: tuple[Array, ...]) -> tuple[Array, Array]:
        """(K, 4) and (K, C) of either form."""
        if not self.output:
            boxes, scores = map(only_item, outputs)
            scores = scores[:, None] if scores.ndim == 1 else scores
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise misfit(outputs[0].shape, "boxes are (1, K, 4)")
            if scores.ndim != 2 or len(scores) != len(boxes):
                raise misfit(outputs[1].shape, f"scores of {len(boxes)} boxes are (1, K, C)")
            return boxes, scores
        rows = only_item(outputs[0])
        # There are more boxes than columns, so the shorter axis has the columns.
        rows = rows.T if rows.ndim == 2 and rows.shape[0] < rows.shape[1] else rows
        if rows.ndim != 2 or rows.shape[1] < (6 if self.objectness else 5):
            raise misfit(outputs[0].shape, "boxes with their scores are (1, K, 4 + C)")
        if self.objectness:
            return rows[:, :4], rows[:, 5:] * rows[:, 4:5]
        return rows[:, :4], rows[:, 4:]


def matches(wanted: Found, given: Found, least_iou: float) -> int:
    """How many boxes of `given`, best score first, find a box of `wanted` of their own."""
    overlap = _overlaps(wanted.corners, given.corners)
    overlap[wanted.classes[:, None] != given.classes[None, :]] = -1.0
    matched = 0
    for column in range(len(given)):
        row = int(np.argmax(overlap[:, column])) if len(wanted) else 0
        if len(wanted) and overlap[row, column] >= least_iou:
            matched += 1
            overlap[row, :] = -1.0
    return matched


def suppress(found: Found, most_iou: float) -> Found:
    """Non-maximum suppression within each class."""
    kept: list[int] = []
    left = np.arange(len(found))
    while len(left) and len(kept) < _MOST_BOXES:
        best = int(left[0])
        kept.append(best)
        overlap = _overlaps(found.corners[best : best + 1], found.corners[left])[0]
        alike = found.classes[left] == found.classes[best]
        left = left[~(alike & (overlap > most_iou)) & (left != best)]
    return found.at(np.array(kept, np.intp))


def _overlaps(first: Array, second: Array) -> Array:
    """Intersection over union of every box with every other: (K, 4), (L, 4) -> (K, L)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    ious: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ious


def _corners(boxes: Array, form: str) -> Array:
    if form == "xyxy":
        return boxes
    at, size = boxes[:, :2], boxes[:, 2:]
    low = at if form == "xywh" else at - size / 2
    return np.concatenate([low, low + size], axis=1)


def _refuse_inverted(found: Found) -> None:
    """Boxes of another format, or raw ones of a head that still has to be decoded."""
    inverted = (found.corners[:, 2:] <= found.corners[:, :2]).any(axis=1)
    if inverted.mean() > 0.5 if len(found) else False:
        raise UsageError(
            "does not fit: most boxes of the reference end before they begin",
            remedy="Give the right format (xyxy, xywh, cxcywh). For a head that still has to be "
            "decoded, give a Python callable to the pytest fixture (docs/metrics.md).",
        )
