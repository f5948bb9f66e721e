"""What a transform is: a named, pure function Model -> Model with a claim about its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.reference.activations import Histogram, Range


class Claim(StrEnum):
    """What a transform promises of its result, from strongest to weakest.

    exact      the same function, up to float32 rounding
    precision  the same function in fewer bits: every intermediate value is merely rounded
    lossy      another function that should do the same task
    """

    EXACT = "exact"
    PRECISION = "precision"
    LOSSY = "lossy"

    def weakest(self, other: Claim) -> Claim:
        order = list(Claim)
        return max(self, other, key=order.index)


class Activations(Protocol):
    """Intermediate tensors of a model on the calibration samples, streamed.

    A call yields one mapping a sample, from value name to array (with its batch axis). `ranges`
    gives, for each tensor, the interval that holds the share `inside` of its elements over all
    samples, and `histograms` where they lie in it. Only one sample's tensors are alive at a time,
    so all run in constant memory, and all may be asked repeatedly. Its length is that of the data.
    """

    def __len__(self) -> int: ...

    def __call__(
        self, model: Model, names: Sequence[str]
    ) -> Iterator[Mapping[str, np.ndarray]]: ...

    def ranges(
        self,
        model: Model,
        names: Sequence[str],
        *,
        inside: float = 1.0,
        progress: Callable[[float], None] = ...,
    ) -> Mapping[str, Range]: ...

    def histograms(
        self, model: Model, names: Sequence[str], *, progress: Callable[[float], None] = ...
    ) -> Mapping[str, Histogram]: ...


@dataclass(frozen=True)
class LeftAlone:
    """A layer that a transform could have changed but did not, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Context:
    """All that a transform may see besides the model.

    `activations` is None where no calibration data were given. `leave` records a layer left
    alone; what *was* changed is never reported by the transform but derived by diffing.
    """

    seed: int = 0
    activations: Activations | None = None
    progress: Callable[[float], None] = field(default=lambda fraction: None)
    left_alone: list[LeftAlone] = field(default_factory=list)

    def leave(self, layer: str, reason: str) -> None:
        self.left_alone.append(LeftAlone(layer, reason))

    def random(self) -> np.random.Generator:
        """A generator that starts anew for each transform, so a step does the same in any chain."""
        return np.random.default_rng(self.seed)

    def calibrated(self, transform: str) -> Activations:
        """The activations, or an error that says how to give calibration data."""
        if self.activations is None:
            raise UsageError(
                f"'{transform}' calibrates and needs data",
                remedy="Give representative samples with --data or --calibration-data.",
            )
        return self.activations


@dataclass(frozen=True)
class Transform:
    """A pure function over models, made by its factory in the catalogue.

    transform(model, context) returns a new Model, or the very same one when nothing is to be
    done; it never changes its input. `options` are the factory's keywords with their values.
    Those of the catalogue can be pickled, as what makes them again.
    """

    name: str
    claim: Claim
    apply: Callable[[Model, Context], Model]
    options: Mapping[str, object] = field(default_factory=dict)
    calibrates: bool = False

    def __call__(self, model: Model, context: Context | None = None) -> Model:
        return self.apply(model, context or Context())

    def __reduce__(
        self,
    ) -> tuple[Callable[[str, Mapping[str, object]], Transform], tuple[Any, ...]]:
        from modelcheck.transforms.catalogue import CATALOGUE, build

        if self.name not in CATALOGUE:
            raise TypeError(f"'{self.name}' is not of the catalogue, and cannot be pickled")
        return build, (self.name, dict(self.options))


def identity() -> Transform:
    """The transform that changes nothing: the unit of `chain`."""
    return Transform("identity", Claim.EXACT, lambda model, context: model)


def chain(*transforms: Transform) -> Transform:
    """Apply transforms from left to right; itself a transform.

    chain(a, chain(b, c)) = chain(chain(a, b), c), and chain() = identity(). Its claim is the
    weakest of its parts.
    """
    claim = Claim.EXACT
    for transform in transforms:
        claim = claim.weakest(transform.claim)

    def apply(model: Model, context: Context) -> Model:
        for transform in transforms:
            model = transform(model, context)
        return model

    return Transform(
        " + ".join(t.name for t in transforms) or "identity",
        claim,
        apply,
        {},
        any(t.calibrates for t in transforms),
    )
