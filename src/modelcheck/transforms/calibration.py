"""From the range of a tensor to the int8 grid that it is rounded to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from modelcheck.reference.activations import Histogram, Range

# A tensor narrower than this is taken for constant zero: its step would be a denormal number.
_NARROWEST = 1e-30
# How far the ends of a range may move in, and in how many steps it is tried.
_NARROWEST_PART, _PARTS = 0.2, 81
_UNSEEN = 1e-9
_STEPS = np.arange(257)
_LARGEST_STEP = 127  # of a weight: -128 has no counterpart


@dataclass(frozen=True, slots=True)
class Grid:
    """q = clip(round(x / scale) + zero_point), x' = scale * (q - zero_point)."""

    scale: np.float32
    zero_point: np.int8 | np.uint8

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest number that it holds."""
        info = np.iinfo(self.zero_point.dtype)
        low, high = (float(self.scale) * (q - int(self.zero_point)) for q in (info.min, info.max))
        return low, high


def is_usable(seen: Range) -> bool:
    """Whether a grid can span the range: finite ends, a finite distance apart."""
    return seen.finite and math.isfinite(np.float32(seen.maximum - seen.minimum))


def grid(seen: Range, kind: Literal["int8", "uint8"]) -> Grid:
    """The asymmetric 8-bit grid from seen.minimum to seen.maximum, widened to hold zero exactly.

    scale = (max - min) / 255,   zero_point = round(bottom - min / scale)
    A tensor that was zero on every sample gets the steps 0 to 255; the scale is never 0.
    """
    dtype: type[np.int8 | np.uint8] = np.int8 if kind == "int8" else np.uint8
    info = np.iinfo(dtype)
    low, high = min(seen.minimum, 0.0), max(seen.maximum, 0.0)
    if high - low < _NARROWEST:
        return Grid(np.float32(1), dtype(info.min))
    scale = np.float32((high - low) / 255)
    zero_point = np.clip(np.rint(info.min - low / float(scale)), info.min, info.max)
    return Grid(scale, dtype(zero_point))


def narrowed(seen: Histogram, criterion: Literal["mse", "entropy"]) -> Range:
    """The part of a tensor's range that loses least in 8 bits; what lies beyond is cut off.

    mse       least sum of (x - x')², x' the nearest step within the range
    entropy   least Kullback-Leibler divergence of the numbers as they are, those beyond at the
              ends, from what is left of them in 256 steps
    Both ends move towards zero by one factor.
    Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    whole, counts = seen.range, seen.counts.astype(np.float64)
    wide = whole.maximum - whole.minimum > _NARROWEST
    if not is_usable(whole) or not wide or not counts.any():
        return whole
    centres = seen.centres
    loss = (_SquaredError if criterion == "mse" else _Divergence)(centres, counts)
    parts = np.linspace(1.0, _NARROWEST_PART, _PARTS)
    low, high = min(whole.minimum, 0.0), max(whole.maximum, 0.0)
    losses = [loss(part * low, part * high) for part in parts]
    best = float(parts[int(np.argmin(losses))])
    return replace(whole, minimum=best * whole.minimum, maximum=best * whole.maximum)


class _SquaredError:
    """Of a histogram's numbers from the nearest of 256 steps between two ends."""

    def __init__(self, centres: np.ndarray, counts: np.ndarray) -> None:
        self._centres, self._counts = centres, counts

    def __call__(self, low: float, high: float) -> float:
        step = (high - low) / 255
        rounded = low + step * np.rint((self._centres.clip(low, high) - low) / step)
        return float(np.sum(self._counts * (self._centres - rounded) ** 2))


class _Divergence:
    """Kullback-Leibler, of a histogram from what 256 steps between two ends leave of it.

    Let c be the counts of the bins between the ends, c' the same with all that lie beyond added to
    the outermost two, and T_s their number in step s, which N_s of its bins held. Each step's
    numbers are spread evenly over those bins:

        p = c' / sum(c'),   q = T_s / N_s / sum(T) where c > 0
        sum(p log p) = sum(c' log c') / sum(c') - log sum(c')
        sum(p log q) = sum(T_s log(T_s / N_s / sum(T))) / sum(c')     and what lies beyond

    All of these are sums over neighbouring bins, so differences of running sums.
    """

    def __init__(self, centres: np.ndarray, counts: np.ndarray) -> None:
        self._centres, self._counts = centres, counts
        self._total, self._held, self._logs = (
            np.concatenate([[0.0], np.cumsum(terms)])
            for terms in (counts, counts > 0, counts * np.log(np.maximum(counts, 1.0)))
        )

    def __call__(self, low: float, high: float) -> float:
        begin = int(np.searchsorted(self._centres, low, "left"))
        end = int(np.searchsorted(self._centres, high, "right"))
        if begin >= end:
            return math.inf
        everywhere, inside = self._total[-1], max(self._total[end] - self._total[begin], 1.0)
        steps = np.rint((self._centres[begin:end] - low) / ((high - low) / 255))
        bounds = begin + np.searchsorted(steps, _STEPS)
        in_step, bins = np.diff(self._total[bounds]), np.diff(self._held[bounds])
        q = in_step / np.maximum(bins, 1.0) / inside
        log_q = np.log(np.where(q > 0, q, _UNSEEN))
        own = self._logs[end] - self._logs[begin]
        cross = float(in_step @ log_q)
        beyond = {begin: self._total[begin]}
        beyond[end - 1] = beyond.get(end - 1, 0.0) + everywhere - self._total[end]
        for k, more in beyond.items():
            count = self._counts[k]
            if more:
                own += (count + more) * np.log(count + more) - count * np.log(max(count, 1.0))
                cross += more * (log_q[int(steps[k - begin])] if count else np.log(_UNSEEN))
        return float((own - cross) / everywhere - np.log(everywhere))


def weight_scale(
    weight: np.ndarray,
    axis: int | None,
    *,
    bias: np.ndarray | None,
    x_scale: np.float32,
    chosen_by: Literal["max", "mse"] = "max",
) -> np.ndarray:
    """The step s of a weight's symmetric grid, zero point 0: one along `axis`, or one in all.

    max    s = max|w| / 127
    mse    s = p · max|w| / 127 with the p of 0.2 to 1 that loses least by squares; what lies beyond
           127 steps is cut off
    Where a bias would not fit 31 bits in steps of x_scale * s, s is made larger: such weights are
    next to nothing beside the bias.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=None if axis is None else others)
    scale = np.asarray(largest / np.float32(_LARGEST_STEP), np.float32)
    if chosen_by == "mse":
        scale = scale * _best_parts(weight, scale, axis)
    if bias is not None and axis is not None:
        # A transposed convolution has the channels of its groups one after another.
        needed = np.abs(bias).reshape(-1, scale.size).max(axis=0)
    else:
        needed = np.asarray(0 if bias is None else np.abs(bias).max())
    least = needed.astype(np.float64) / float(x_scale) / 2**30
    scale = np.maximum(scale, least.astype(np.float32))
    # A channel of zeros takes the step of the others.
    tiny = scale <= np.finfo(np.float32).tiny
    return np.asarray(np.where(tiny, np.float32(1) if tiny.all() else scale.max(), scale))


def _best_parts(weight: np.ndarray, scale: np.ndarray, axis: int | None) -> np.ndarray:
    """The part of each scale with the least squared error, and of equals the largest."""
    rows = weight.reshape(1, -1) if axis is None else np.moveaxis(weight, axis, 0)
    steps = rows.reshape(scale.size, -1) / np.where(scale > 0, scale, np.float32(1)).reshape(-1, 1)
    best = np.ones(scale.size, np.float32)
    least = np.full(scale.size, np.inf, np.float32)
    for part in np.linspace(1.0, _NARROWEST_PART, _PARTS, dtype=np.float32):
        rounded = np.rint(steps / part).clip(-_LARGEST_STEP, _LARGEST_STEP) * part
        error = ((steps - rounded) ** 2).sum(axis=1)
        best = np.where(error < least, part, best)
        least = np.minimum(error, least)
    return np.asarray(best.reshape(scale.shape))


def nearest_steps(weight: np.ndarray, scale: np.ndarray, axis: int | None) -> np.ndarray:
    """q with q * scale nearest to the weight."""
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = np.rint(weight / scale.reshape(shape if axis is not None else ()))
    return np.asarray(steps.clip(-_LARGEST_STEP, _LARGEST_STEP).astype(np.int8))
