"""How far two float32 runs of the same mathematics may lie apart.

    limit = max( 8 * largest, 8 * eps * sqrt(K) ),   eps = 2^-23
    largest: max |y_p - y| / max |y| over channel permutations p, which change only the order
             of summation;  K: length of the longest sum (the fan-in of a convolution)
All scale-relative. The factor 8 accepted 6 of 6 equivalent nets and caught one channel scaled
by 0.1 % (GATE.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelcheck import units

# No float32 rounding is this large: a floor measured above it says that the net amplifies noise
# without bound, and must not become a licence for any error at all.
LARGEST_LIMIT = 1e-2

_EPSILON = 2.0**-23
_MARGIN = 8.0


def lower_bound(reduction_length: int) -> float:
    """8 eps sqrt(K): the least that is allowed, whatever the permutations showed."""
    return min(_MARGIN * _EPSILON * math.sqrt(max(1, reduction_length)), LARGEST_LIMIT)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """The noise floor of one model on one target and engine."""

    permutations: int
    largest: float  # scale-relative
    reduction_length: int
    permutable: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.largest) and self.largest >= 0):
            raise ValueError(f"a noise floor is finite and not negative, got {self.largest}")

    @property
    def limit(self) -> float:
        """The scale-relative error that rounding alone explains."""
        measured = min(_MARGIN * self.largest, LARGEST_LIMIT)
        return max(measured, lower_bound(self.reduction_length))

    def describe(self) -> str:
        """The limit and where it comes from."""
        limit = units.scientific(self.limit)
        if not self.permutable:
            return (
                f"noise floor {limit} (lower bound for sums of {self.reduction_length}: "
                "the model has no channels to permute)"
            )
        largest = units.scientific(self.largest)
        return f"noise floor {limit} (from {self.permutations} permutations, largest {largest})"
