"""Intermediate tensors of a model on the calibration samples: their values and their ranges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from modelcheck.data.samples import Sample
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Workspace
from modelcheck.reference.client import Reference
from modelcheck.reference.probes import SLICE_OPSET, START, with_ranges, with_samples, with_values

Progress = Callable[[float], None]

_KEY = "activations"
# Tensors fetched from one run together. More of them means fewer runs, and more memory.
_FETCHED_BYTES = 96 << 20
# Extreme elements kept of each end of a tensor: a rank error of 1 % where there are more.
_KEPT = 1 << 14
_LOOKED_AT = 1 << 13  # elements a tensor and sample that histograms count


class CalibrationSamples(Protocol):
    """What is needed of `Samples`: they can be gone through again and again. A list will do."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True, slots=True)
class Range:
    """Between which values a tensor lay, and the shape it had on the first sample.

    `usual` is the mean of the samples' own minima, and of their maxima.
    """

    minimum: float
    maximum: float
    shape: tuple[int, ...]
    usual: tuple[float, float] | None = None

    @property
    def finite(self) -> bool:
        return math.isfinite(self.minimum) and math.isfinite(self.maximum)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many of a tensor's elements lay in each of equal bins: of all, or of some thousand a
    sample. The first bin begins at `start`.
    """

    range: Range
    counts: np.ndarray  # (bins,), int64
    start: float
    width: float

    @property
    def centres(self) -> np.ndarray:
        """The middle of every bin."""
        return self.start + self.width * (np.arange(self.counts.size) + 0.5)


class ReferenceActivations:
    """What float32 onnxruntime computes inside a model; implements transforms' `Activations`.

    Float16 models are run as float32. Memory does not grow with the number of samples: one
    sample's tensors live at a time, and `ranges` never brings them out of the child.
    """

    def __init__(
        self, reference: Reference, samples: CalibrationSamples, workspace: Workspace
    ) -> None:
        self._reference = reference
        self._samples = samples
        self._path = workspace.path / "activations.onnx"

    def __len__(self) -> int:
        return len(self._samples)

    def __call__(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        """One mapping a sample, from tensor name to array."""
        probed, outputs = with_values(as_float32(model), names)
        self._load(probed, watch="")
        for sample in self._samples:
            arrays = self._reference.run(sample.arrays, key=_KEY)
            yield {name: arrays[output] for name, output in zip(names, outputs, strict=True)}
        self._reference.unload(_KEY)

    def ranges(
        self,
        model: Model,
        names: Sequence[str],
        *,
        inside: float = 1.0,
        progress: Progress = lambda fraction: None,
    ) -> dict[str, Range]:
        """The interval that holds the share `inside` of each tensor's elements over all samples.

        inside = 1: from the minimum to the maximum. Below: (1 - inside) / 2 of the elements lie
        beyond each end; these are order statistics of the elements, not read off a histogram
        (of tensors with very many elements beyond, every s-th element is looked at).
        """
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        model = as_float32(model)
        if inside >= 1.0:
            return self._extremes(model, names, len(self), progress)
        sizes = self._extremes(model, names, 1, lambda fraction: None)
        found: dict[str, Range] = {}
        chunks = list(_chunks(sizes))
        for done, chunk in enumerate(chunks):

            def report(fraction: float, done: int = done) -> None:
                progress((done + fraction) / len(chunks))

            found |= self._quantiles(model, chunk, inside, report)
        return found

    def histograms(
        self,
        model: Model,
        names: Sequence[str],
        *,
        progress: Progress = lambda fraction: None,
    ) -> dict[str, Histogram]:
        """Where each tensor's elements lie, over all samples, in one pass.

        Of large tensors some thousand elements a sample are counted, which leave the network alone.
        """
        names = list(dict.fromkeys(names))
        if not names:
            return {}
        model = as_float32(model)
        sizes = self._extremes(model, names, 1, lambda fraction: None)
        strides = [_stride(size) for size in sizes.values()]
        self._load(with_samples(model, names, strides), watch="histograms")
        seen = self._observe(len(self), progress, numbered=model.opset >= SLICE_OPSET)
        return {
            name: _histogram(range_, seen, i)
            for i, (name, range_) in enumerate(_ranges(names, seen).items())
        }

    def _extremes(
        self, model: Model, names: Sequence[str], count: int, progress: Progress
    ) -> dict[str, Range]:
        self._load(with_ranges(model, names), watch="ranges")
        return _ranges(names, self._observe(count, progress))

    def _quantiles(
        self, model: Model, sizes: Mapping[str, Range], inside: float, progress: Progress
    ) -> dict[str, Range]:
        beyond = (1 - inside) / 2
        probed, outputs = with_values(model, list(sizes))
        keep, strides = [], []
        for size in sizes.values():
            wanted = math.ceil(math.prod(size.shape) * len(self) * beyond) + 1
            stride = _prime(math.ceil(wanted / _KEPT)) if wanted > _KEPT else 1
            strides.append(stride)
            # A quarter more, for samples that are larger than the first.
            keep.append(math.ceil(1.25 * wanted / stride))
        self._load(probed, watch="tails", keep=keep, strides=strides)
        seen = self._observe(len(self), progress)
        return {
            name: Range(
                _at_rank(seen[f"low:{output}"], seen[f"count:{output}"], beyond),
                _at_rank(seen[f"high:{output}"], seen[f"count:{output}"], beyond),
                size.shape,
            )
            for (name, size), output in zip(sizes.items(), outputs, strict=True)
        }

    def _observe(
        self, count: int, progress: Progress, *, numbered: bool = False
    ) -> dict[str, np.ndarray]:
        """Run the first `count` samples; the next one is made while the child computes.

        `numbered`: the model takes each one's number, too, as START.
        """
        running = False
        for i, sample in enumerate(itertools.islice(self._samples, count)):
            if running:
                self._reference.receive()
            progress(i / count)
            arrays = {**sample.arrays, START: np.array([i])} if numbered else sample.arrays
            self._reference.send(arrays, key=_KEY, op="observe")
            running = True
        if running:
            self._reference.receive()
        seen = self._reference.observed(key=_KEY)
        self._reference.unload(_KEY)
        progress(1.0)
        return seen

    def _load(
        self,
        probed: Model,
        *,
        watch: str,
        keep: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        write_private(probed, self._path)
        self._reference.load(self._path, _KEY, watch=watch, keep=keep, strides=strides)


def _ranges(names: Sequence[str], seen: Mapping[str, np.ndarray]) -> dict[str, Range]:
    return {
        name: Range(
            float(seen[f"minimum:{i}"]),
            float(seen[f"maximum:{i}"]),
            tuple(seen[f"shape:{i}"].tolist()),
            (
                float(seen[f"sum:minimum:{i}"] / seen["samples"]),
                float(seen[f"sum:maximum:{i}"] / seen["samples"]),
            ),
        )
        for i, name in enumerate(names)
    }


def _histogram(range_: Range, seen: Mapping[str, np.ndarray], number: int) -> Histogram:
    width = 2.0 ** int(seen[f"exponent:{number}"])
    first = int(seen[f"first:{number}"])
    return Histogram(range_, seen[f"counts:{number}"], first * width, width)


def _stride(size: Range) -> int:
    """Between the elements that are looked at; odd, so that no power of two is its rhythm."""
    return max(1, math.prod(size.shape) // _LOOKED_AT) | 1


def _chunks(sizes: Mapping[str, Range]) -> Iterator[dict[str, Range]]:
    """Tensors to fetch together, in order, each chunk of bounded size."""
    chunk: dict[str, Range] = {}
    n_bytes = 0
    for name, size in sizes.items():
        size_bytes = 4 * math.prod(size.shape)
        if chunk and n_bytes + size_bytes > _FETCHED_BYTES:
            yield chunk
            chunk, n_bytes = {}, 0
        chunk[name] = size
        n_bytes += size_bytes
    yield chunk


def _at_rank(extremes: np.ndarray, count: np.ndarray, beyond: float) -> float:
    """The element that has the share `beyond` of all elements further out; outermost first."""
    if not extremes.size:
        return math.nan
    return float(extremes[min(int(count[0] * beyond), extremes.size - 1)])


def _prime(n: int) -> int:
    """The least prime >= n: a stride that no row or channel count divides."""
    while any(n % d == 0 for d in range(2, math.isqrt(n) + 1)):
        n += 1
    return max(n, 2)
