"""How far the data go: the ranges of the inputs, the scales of the outputs, every sample's score.

A search for worse inputs starts from here. Constant memory but for a few numbers a sample.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from modelcheck.judge import InputScore, Measured, Scales, is_class_scores, measure
from modelcheck.verification.lane import Arrays
from modelcheck.worst_inputs import Ranges


class Extremes:
    """Accumulates what a search must know of the samples, on one target.

    `exact` says whether the drift from the original there counts, as in that claim.
    """

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._scales: dict[str, float] = {}
        self._measured: dict[int, Measured] = {}
        self._traits: dict[int, tuple[float, ...]] = {}
        self.ranges = Ranges()
        self.classes: tuple[str, ...] = ()

    def update(
        self,
        sample: int,
        inputs: Arrays,
        outputs: tuple[Arrays, Arrays, Arrays | None],
        classes: Iterable[str],
    ) -> None:
        """Add one sample and what the reference, the original and the candidate made of it."""
        expected, original, candidate = outputs
        self.ranges.update(inputs)
        self.classes = tuple(name for name in classes if is_class_scores(expected[name].shape))
        for name, x in expected.items():
            finite = np.abs(x[np.isfinite(x)]).max(initial=0.0)
            self._scales[name] = max(self._scales.get(name, 0.0), float(finite))
        self._measured[sample] = measure(expected, original, candidate, self.classes)
        self._traits[sample] = _traits(inputs, expected)

    @property
    def scales(self) -> Scales:
        """The scales of all data: errors of any input are parts of these."""
        return Scales(self._scales, self._exact)

    def worst(self, count: int) -> dict[int, InputScore]:
        """The samples with the largest errors, by their index, the worst first."""
        scores = self._scores()
        ordered = sorted(scores, key=lambda i: -scores[i].error)
        return {i: scores[i] for i in ordered[:count]}

    def starts(self, worst: int) -> dict[int, InputScore]:
        """Where to search from: the worst samples, and those that go farthest in some way.

        A fault beyond what the data reach shows in no sample; the brightest, the darkest and the
        one with the largest outputs are nearest to it.
        """
        by_trait = np.array(list(self._traits.values()))
        places = {*by_trait.argmax(axis=0), *by_trait.argmin(axis=0)}
        farthest = [sample for at, sample in enumerate(self._traits) if at in places]
        scores = self._scores()
        return self.worst(worst) | {i: scores[i] for i in farthest}

    def closest(self, count: int) -> dict[int, InputScore]:
        """The samples of the right class that are nearest to another, the nearest first."""
        scores = {i: s for i, s in self._scores().items() if not s.flipped and s.margin > 0}
        ordered = sorted(scores, key=lambda i: scores[i].margin)
        known = [i for i in ordered if np.isfinite(scores[i].margin)]
        return {i: scores[i] for i in known[:count]}

    def _scores(self) -> dict[int, InputScore]:
        scales = self.scales
        return {i: scales.score(measured) for i, measured in self._measured.items()}


def _traits(inputs: Arrays, expected: Arrays) -> tuple[float, ...]:
    """The mean of each input that can be varied, and the largest output."""
    means = (float(a.mean()) for a in inputs.values() if a.dtype.kind == "f" or a.dtype == np.uint8)
    peak = max((float(np.abs(x).max(initial=0.0)) for x in expected.values()), default=0.0)
    return (*means, peak)
