"""Activations on the calibration samples, measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelcheck.model import Model
from modelcheck.reference.activations import Histogram, Range
from modelcheck.transforms import Activations


@dataclass
class RememberedRanges:
    """Activations that are measured once, however often a search asks for ranges or histograms."""

    activations: Activations
    _known: dict[tuple[str, float, str], Range] = field(default_factory=dict)
    _counted: dict[tuple[str, str], Histogram] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.activations)

    def __call__(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        return self.activations(model, names)

    def ranges(
        self,
        model: Model,
        names: Sequence[str],
        *,
        inside: float = 1.0,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Mapping[str, Range]:
        digest = model.digest
        missing = [n for n in names if (digest, inside, n) not in self._known]
        found = self.activations.ranges(model, missing, inside=inside, progress=progress)
        self._known |= {(digest, inside, name): range_ for name, range_ in found.items()}
        return {name: self._known[digest, inside, name] for name in names}

    def histograms(
        self,
        model: Model,
        names: Sequence[str],
        *,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> Mapping[str, Histogram]:
        digest = model.digest
        missing = [n for n in names if (digest, n) not in self._counted]
        found = self.activations.histograms(model, missing, progress=progress)
        self._counted |= {(digest, name): counted for name, counted in found.items()}
        return {name: self._counted[digest, name] for name in names}
