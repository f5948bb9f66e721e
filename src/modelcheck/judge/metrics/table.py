"""The metrics there are, as one literal table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelcheck.judge.metrics.base import Metric
from modelcheck.judge.metrics.boxes import Boxes
from modelcheck.judge.metrics.classes import Divergence, Drop, Flips, Top1, Top5
from modelcheck.judge.metrics.embeddings import Cosine, Neighbours
from modelcheck.judge.metrics.images import Psnr, Ssim
from modelcheck.judge.metrics.segmentation import Segmentation
from modelcheck.judge.metrics.text import Ctc


class Asks(StrEnum):
    """What a limit is about, and with it how the bounds on it are found.

    FRACTION: how often the score is 1 (Clopper and Pearson). MEAN: the mean of the scores, which
    lie in a known range (betting). SHARE: how often a score meets the limit, where scores have no
    largest value; at least so often as `share` says (Clopper and Pearson). CLASSES: the fraction
    of each class by itself (Clopper and Pearson for each).
    """

    FRACTION = "fraction"
    MEAN = "mean"
    SHARE = "share"
    CLASSES = "classes"


@dataclass(frozen=True, slots=True)
class Kind:
    """One metric. `lowest` and `highest` bound its scores, where it asks for their mean."""

    title: str
    asks: Asks
    limit: str  # the key of its limit: 'min' where more is better, 'max' where less is
    unit: str = "%"  # '%': a score of 1 is 100 %
    make: type[Metric] | None = None  # None: a callable of the pytest fixture
    lowest: float = 0.0
    highest: float = 1.0
    labels: bool = False


FUNCTION = "function"
KINDS = {
    "top1": Kind("top-1 agreement", Asks.FRACTION, "min", make=Top1),
    "top5": Kind("top-5 agreement", Asks.FRACTION, "min", make=Top5),
    "flips": Kind("flips in a class", Asks.CLASSES, "max", make=Flips),
    "kl": Kind("KL divergence", Asks.SHARE, "max", "nats", make=Divergence),
    "drop": Kind(
        "drop in accuracy", Asks.MEAN, "max", make=Drop, lowest=-1.0, labels=True
    ),
    "boxes": Kind("F1 of boxes", Asks.MEAN, "min", "", make=Boxes),
    "segmentation": Kind("mIoU", Asks.MEAN, "min", "", make=Segmentation),
    "psnr": Kind("PSNR", Asks.SHARE, "min", "dB", make=Psnr),
    "ssim": Kind("SSIM", Asks.MEAN, "min", "", make=Ssim),
    "cosine": Kind("cosine", Asks.MEAN, "min", "", make=Cosine),
    "neighbours": Kind("same nearest neighbour", Asks.FRACTION, "min", make=Neighbours),
    "ctc": Kind("edit distance", Asks.MEAN, "max", "", make=Ctc),
    FUNCTION: Kind("score", Asks.MEAN, "min", ""),
}  # fmt: skip
