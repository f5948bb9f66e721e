"""What a diagnosis is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelcheck.data import Samples
from modelcheck.model import Model
from modelcheck.process import ChildLimits
from modelcheck.targets import Target

SAMPLES = 4  # several, since an error may show on some inputs alone; each costs a run of all


@dataclass(frozen=True)
class DiagnosisPlan:
    """A pair on one target, or a model alone. `steps`: the models that a recipe made on the way.

    The last of the steps is the candidate.
    """

    original: Model
    candidate: Model | None
    samples: Samples
    target: Target
    steps: Sequence[tuple[str, Model]] = ()
    reduce: bool = False
    notes: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1
    child_limits: ChildLimits = ChildLimits()
