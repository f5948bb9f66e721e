"""Expected against actual outputs, streamed: constant memory however many samples there are.

Over all samples of one output, with x expected and y actual, in float64:
    max_abs = max |x - y|                 scale = max |x|
    SQNR    = 10 log10( sum x^2 / sum (x - y)^2 )  dB
    cosine  = sum xy / sqrt( sum x^2 * sum y^2 )
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcheck.judge.tally import SampleTally, tally
from modelcheck.judge.variation import Variation

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class OutputEvidence:
    """How far one output is from what was expected, over all samples.

    Where the figures cannot be had (nothing compared, another shape, an element that is not
    finite) they are the worst ones: infinite error, -inf dB. So no limit passes by accident.
    """

    name: str
    samples: int
    elements: int
    max_abs: float
    max_abs_sample: int | None
    scale: float
    scale_relative_max: float  # max_abs / scale; infinite where an all-zero reference is missed
    sqnr_db: float
    cosine: float
    worst_sample: int | None  # lowest SQNR of its own, first of equals
    worst_sample_error: float  # its max_abs over the pooled scale
    worst_sample_sqnr_db: float
    worst_channel: int | None  # along axis 1: the one that carries most of the noise
    worst_channel_error: float
    worst_channel_sqnr_db: float
    non_finite: int  # actual is not finite where expected is
    expected_non_finite: int
    shape_mismatch: str | None
    dtype_mismatch: str | None
    # What the output varies over the samples against the noise; None where it was not followed.
    variation_db: float | None = None
    constant: bool = False  # the reference gave the same for all of several samples


@dataclass(frozen=True, slots=True)
class ComparisonEvidence:
    """Every output of one comparison, by name."""

    outputs: tuple[OutputEvidence, ...]
    samples: int

    def output(self, name: str) -> OutputEvidence | None:
        """The evidence for the output of this name, if it was compared."""
        return next((output for output in self.outputs if output.name == name), None)


class OutputComparison:
    """Accumulates one output, sample by sample; the order of the samples does not matter."""

    def __init__(self, name: str, *, variation: bool = False) -> None:
        self.name = name
        self._variation = Variation() if variation else None
        self._samples = self._elements = 0
        self._max_abs: tuple[float, int] | None = None  # (error, -sample)
        self._worst: tuple[float, int] | None = None  # (noise to signal, -sample)
        self._worst_tally = SampleTally.empty()
        self._scale = self._actual_energy = 0.0
        self._signal = self._noise = self._peak = np.zeros(0)
        self._non_finite = self._expected_non_finite = 0
        self._shape_mismatch: str | None = None
        self._dtype_mismatch: str | None = None

    def update(self, expected: Array, actual: Array, sample: int) -> None:
        """Add one sample; arrays of different shape are recorded, and not computed with."""
        self._samples += 1
        # cv2 widens float16 to float32 and narrows int64 to int32: the same kind, and fine.
        if (kinds := (_kind(expected), _kind(actual)))[0] != kinds[1]:
            self._dtype_mismatch = (
                self._dtype_mismatch or f"{kinds[1]} ({actual.dtype}) where {kinds[0]} is expected"
            )
        if expected.shape != actual.shape:
            self.refuse(f"shape {actual.shape} where {expected.shape} is expected", sample)
            return
        if self._variation is not None:
            self._variation.update(expected)
        self._absorb(tally(expected, actual), sample)

    def refuse(self, mismatch: str, sample: int) -> None:
        """Record that this sample cannot be compared at all; the first reason is kept."""
        self._shape_mismatch = self._shape_mismatch or f"{mismatch} (sample {sample})"

    def _absorb(self, seen: SampleTally, sample: int) -> None:
        self._elements += seen.elements
        self._scale = max(self._scale, seen.scale)
        self._actual_energy += seen.actual_energy
        self._non_finite += seen.non_finite
        self._expected_non_finite += seen.expected_non_finite
        self._signal = _grown(self._signal, seen.signal) + _grown(seen.signal, self._signal)
        self._noise = _grown(self._noise, seen.noise) + _grown(seen.noise, self._noise)
        self._peak = np.maximum(_grown(self._peak, seen.peak), _grown(seen.peak, self._peak))
        self._max_abs = max(self._max_abs or (-1.0, 0), (seen.max_abs, -sample))
        if self._worst is None or (seen.noise_to_signal, -sample) > self._worst:
            self._worst = (seen.noise_to_signal, -sample)
            self._worst_tally = seen

    def result(self) -> OutputEvidence:
        """The evidence so far; more samples may follow."""
        signal, noise = float(self._signal.sum()), float(self._noise.sum())
        usable = self._samples > 0 and not self._non_finite and self._shape_mismatch is None
        max_abs = self._max_abs[0] if usable and self._max_abs else math.inf
        worst = self._worst_tally
        channel = int(np.argmax(self._noise)) if len(self._noise) > 1 and noise > 0 else None
        return OutputEvidence(
            name=self.name,
            samples=self._samples,
            elements=self._elements,
            max_abs=max_abs,
            max_abs_sample=-self._max_abs[1] if self._max_abs else None,
            scale=self._scale,
            scale_relative_max=_quotient(max_abs, self._scale),
            sqnr_db=_sqnr_db(signal, noise) if usable else -math.inf,
            cosine=_cosine(signal, self._actual_energy, noise) if usable else 0.0,
            worst_sample=-self._worst[1] if self._worst else None,
            worst_sample_error=_quotient(worst.max_abs, self._scale),
            worst_sample_sqnr_db=_sqnr_db(float(worst.signal.sum()), float(worst.noise.sum())),
            worst_channel=channel,
            worst_channel_error=(
                0.0 if channel is None else _quotient(float(self._peak[channel]), self._scale)
            ),
            worst_channel_sqnr_db=(
                math.inf
                if channel is None
                else _sqnr_db(float(self._signal[channel]), float(self._noise[channel]))
            ),
            non_finite=self._non_finite,
            expected_non_finite=self._expected_non_finite,
            shape_mismatch=self._shape_mismatch,
            dtype_mismatch=self._dtype_mismatch,
            variation_db=self._variation_db(noise),
            constant=self._variation is not None and self._variation.energy() == 0.0,
        )

    def _variation_db(self, noise: float) -> float | None:
        energy = None if self._variation is None else self._variation.energy()
        return None if energy is None else _sqnr_db(energy, noise)


class Comparison:
    """Accumulates all outputs of a model, matched by name (cv2 keeps no reliable order).

    `variation` also follows how much each output varies from sample to sample.
    """

    def __init__(self, names: Sequence[str], *, variation: bool = False) -> None:
        self._names = tuple(names)
        self._outputs = {n: OutputComparison(n, variation=variation) for n in names}
        self._samples = 0

    def update(
        self, expected: Mapping[str, Array], actual: Mapping[str, Array], sample: int
    ) -> None:
        """Add one sample: a name missing in `actual`, or one too many, is that output's fault."""
        self._samples += 1
        for name in self._names:
            if name in actual:
                self._outputs[name].update(expected[name], actual[name], sample)
            else:
                self._outputs[name].refuse("no such output", sample)
        for name in actual:
            if name not in self._names:
                extra = self._outputs.setdefault(name, OutputComparison(name))
                extra.refuse("an output that the reference does not have", sample)

    def result(self) -> ComparisonEvidence:
        """The evidence so far; more samples may follow."""
        outputs = tuple(output.result() for output in self._outputs.values())
        return ComparisonEvidence(outputs=outputs, samples=self._samples)


def _kind(array: Array) -> str:
    return "int" if array.dtype.kind in "biu" else "float"


def _grown(array: Array, other: Array) -> Array:
    """`array` with zeros up to the length of `other`: a dynamic axis 1 varies by sample."""
    missing = len(other) - len(array)
    return np.pad(array, (0, missing)) if missing > 0 else array


def _quotient(error: float, scale: float) -> float:
    if scale > 0:
        return error / scale
    return math.inf if error > 0 else 0.0


def _sqnr_db(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if signal == 0 or noise == math.inf:
        return -math.inf
    return 10 * math.log10(signal / noise)


def _cosine(expected_energy: float, actual_energy: float, noise: float) -> float:
    if expected_energy == 0 or actual_energy == 0:
        return 1.0 if expected_energy == actual_energy else 0.0
    # 2 xy = x^2 + y^2 - (x - y)^2 saves one pass over the data.
    product = (expected_energy + actual_energy - noise) / 2
    return max(-1.0, min(1.0, product / math.sqrt(expected_energy * actual_energy)))
