"""How far two float32 runs of the same mathematics may lie apart.

The original is run again in ways that change nothing but the order or the form of its sums; of
each output y, over the samples,
    error = max |y_v - y| / max |y|         noise = sqrt( sum (y_v - y)^2 / sum y^2 )
    limit       = max( 8 * largest error, 8 * eps * sqrt(K) ),   eps = 2^-23
    noise limit = max( 8 * largest noise, 4 * eps )
K: length of the longest sum (the fan-in of a convolution). Both hold for each output by itself.
The factor 8 accepted 6 of 6 equivalent nets and caught one channel scaled by 0.1 % (GATE.md). The
noise, a mean over all elements, shows faults that move many elements a little. A factor of 4 for it
refused a folded or split BatchNormalization of two trained nets; 8 lets one planted fault of 245
go by (docs/trust-equivalence.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck import units

# No float32 rounding is this large: a floor measured above it says that the net amplifies noise
# without bound, and must not become a licence for any error at all.
LARGEST_LIMIT = 1e-2

_EPSILON = 2.0**-23
_MARGIN = 8.0
_LEAST_NOISE = 4.0


def lower_bound(reduction_length: int) -> float:
    """8 eps sqrt(K): the least that is allowed, whatever was measured."""
    return min(_MARGIN * _EPSILON * math.sqrt(max(1, reduction_length)), LARGEST_LIMIT)


def describe_lower_bound(reduction_length: int, why: str) -> str:
    """'lower bound 2.3e-05 for sums of 576 (…)'."""
    bound = units.scientific(lower_bound(reduction_length))
    return f"noise floor {bound} (lower bound for sums of {reduction_length}: {why})"


@dataclass(frozen=True, slots=True)
class Variation:
    """How far the original's outputs moved when it ran as the same mathematics in another form.

    Both by output, scale-relative: the largest error, and the noise (root mean square).
    """

    what: str  # 'channels permuted'
    engine: str  # where it ran
    errors: Mapping[str, float]
    noises: Mapping[str, float]

    def __post_init__(self) -> None:
        for value in (*self.errors.values(), *self.noises.values()):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"a noise floor is finite and not negative, got {value}")

    @property
    def largest(self) -> float:
        return max(self.errors.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """The noise floor of one model on one target, with the engines that its lane uses."""

    variations: tuple[Variation, ...]
    reduction_length: int
    why_none: str = ""  # why nothing was measured, where nothing was

    @property
    def largest(self) -> float:
        """The largest error of all outputs and variations."""
        return max((v.largest for v in self.variations), default=0.0)

    @property
    def limit(self) -> float:
        """The scale-relative error that rounding alone explains, of the noisiest output."""
        return max(lower_bound(self.reduction_length), self._limit(self.largest))

    def limit_of(self, output: str) -> float:
        """The same of one output; an output that was not measured has the lower bound."""
        errors = (v.errors.get(output, 0.0) for v in self.variations)
        return max(lower_bound(self.reduction_length), self._limit(max(errors, default=0.0)))

    def noise_limit_of(self, output: str) -> float:
        """The noise that rounding alone explains; infinite where none was measured."""
        noises = [v.noises[output] for v in self.variations if output in v.noises]
        if not noises:
            return math.inf
        return min(max(_MARGIN * max(noises), least_noise_limit()), LARGEST_LIMIT)

    def describe(self) -> str:
        """The limit and where it comes from."""
        if not self.variations:
            return describe_lower_bound(self.reduction_length, self.why_none or "none is measured")
        limit, largest = units.scientific(self.limit), units.scientific(self.largest)
        if self._limit(self.largest) < lower_bound(self.reduction_length):
            measured = f"{largest} measured"
            return (
                f"noise floor {limit} (lower bound for sums of {self.reduction_length}; "
                f"{measured}: {self._sources()})"
            )
        return f"noise floor {limit} (8 x {largest}: {self._sources()})"

    def _sources(self) -> str:
        """'4 x channels permuted on new, without Winograd on classic'."""
        counts: dict[str, int] = {}
        for variation in self.variations:
            source = f"{variation.what} on {variation.engine}"
            counts[source] = counts.get(source, 0) + 1
        return ", ".join(f"{n} x {source}" if n > 1 else source for source, n in counts.items())

    @staticmethod
    def _limit(error: float) -> float:
        return min(_MARGIN * error, LARGEST_LIMIT)


def least_noise_limit() -> float:
    """The noise that is allowed whatever was measured: the last bit of weights and results."""
    return _LEAST_NOISE * _EPSILON


@dataclass(frozen=True, slots=True)
class Bounds:
    """What every output may differ by, whatever its name: an end of the range of all floors."""

    error: float
    noise: float

    def limit_of(self, output: str) -> float:
        return self.error

    def noise_limit_of(self, output: str) -> float:
        return self.noise


def strictest(reduction_length: int) -> Bounds:
    """No floor allows less."""
    return Bounds(lower_bound(reduction_length), least_noise_limit())


LOOSEST = Bounds(LARGEST_LIMIT, math.inf)
