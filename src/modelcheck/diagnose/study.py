"""One pair of models, taken apart: its parts, and what the original computes between them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import prod

import numpy as np
import onnx_ir as ir

from modelcheck.diagnose.bench import Arrays, Bench
from modelcheck.diagnose.cutting import Feed, Shape, cut
from modelcheck.diagnose.evidence import Part
from modelcheck.diagnose.matching import Matching, Pair, match
from modelcheck.diagnose.net import Net
from modelcheck.errors import UsageError
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.scene import QUANTIZERS, node_name
from modelcheck.reference.probes import with_shapes, with_values

# Tensors of all samples that are held at a time.
_HELD_BYTES = 192 << 20


class Study:
    """The parts of a candidate, each with its counterpart in the original.

    A model alone is its own candidate. Tensors are named as in the original; `uncut` names those
    that are not the same tensor in both.
    """

    def __init__(
        self,
        bench: Bench,
        original: Model,
        candidate: Model | None,
        samples: Sequence[Arrays],
        *,
        uncut: Collection[str] = (),
    ) -> None:
        self.bench, self.samples = bench, samples
        self._uncut = uncut
        self.alone = candidate is None
        self.original = Net(original)
        self.candidate = self.original if candidate is None else Net(candidate)
        self._float = as_float32(original)
        self.outputs = [str(v.name) for v in self.original.graph.outputs]
        _check_outputs(self.outputs, self.candidate)
        found = match(self.original, self.candidate)
        self.shapes = self._shapes(found)
        self.matching = found
        self._to_candidate = {
            p.original: p.candidate for p in (*found.inputs, *found.pairs) if self._is_cut(p)
        }
        self.parts = tuple(self._make_parts(found.pairs))

    def reference_values(self, names: Sequence[str]) -> list[dict[str, np.ndarray]]:
        """What the original computes there in float32, for each sample."""
        inputs = {str(v.name) for v in self.original.inputs}
        inner = [n for n in dict.fromkeys(names) if n not in inputs]
        found: list[dict[str, np.ndarray]] = [
            {n: s[n] for n in names if n in inputs} for s in self.samples
        ]
        if inner:
            probed, outputs = with_values(self._float, inner)
            with self.bench.loaded(probed):
                for one, sample in zip(found, self.samples, strict=True):
                    arrays = self.bench.run(sample)
                    one |= {n: arrays[o] for n, o in zip(inner, outputs, strict=True)}
        return found

    def in_pieces(self, parts: Iterable[Part]) -> Iterator[list[Part]]:
        """The parts a few at a time, so that their tensors fit into memory."""
        piece: list[Part] = []
        held: set[str] = set()
        for part in parts:
            names = held | {part.output, *part.inputs}
            if piece and self._bytes(names) > _HELD_BYTES:
                yield piece
                piece, names = [], {part.output, *part.inputs}
            piece.append(part)
            held = names
        if piece:
            yield piece

    def feeds(self, part: Part, values: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
        """The inputs of a part's sub-models, out of the reference's values."""
        return [{f"input_{i}": v[n] for i, n in enumerate(part.inputs)} for v in values]

    def original_part(self, part: Part) -> Model:
        """The part as the original computes it."""
        return self._cut(self.original, {n: n for n in part.inputs}, part, part.output)

    def candidate_part(self, part: Part) -> Model:
        """The part as the candidate computes it, rounded as its readers get it."""
        names = {n: self._to_candidate[n] for n in part.inputs}
        return self._cut(self.candidate, names, part, self._as_read(part.candidate_output))

    def with_probes(self, parts: Sequence[Part]) -> Model:
        """The whole candidate, with these parts' results as its only outputs."""
        feeds = {
            p.candidate: Feed(p.candidate, self.shapes[p.original]) for p in self.matching.inputs
        }
        wants = {self._as_read(p.candidate_output): self.shapes[p.output] for p in parts}
        return cut(self.candidate, feeds, wants)

    def join(self, parts: Sequence[Part]) -> Part:
        """Several parts as one, that ends where the last of them does."""
        last = parts[-1]
        stops = [n for p in parts for n in p.inputs if n not in {q.output for q in parts}]
        return replace(
            last,
            operators=" + ".join(p.operators for p in parts),
            candidate_operators=" + ".join(p.candidate_operators for p in parts),
            layers=tuple(name for p in parts for name in p.layers),
            inputs=tuple(dict.fromkeys(stops)),
        )

    def candidate_samples(self) -> list[Arrays]:
        """The samples under the candidate's names of its inputs."""
        return [{p.candidate: s[p.original] for p in self.matching.inputs} for s in self.samples]

    def knows(self, name: str) -> bool:
        """Whether a tensor of the original is one of the candidate's too."""
        return name in self._to_candidate

    def _as_read(self, name: str) -> str:
        return str(self.candidate.as_read(self.candidate.values[name]).name)

    def _cut(self, net: Net, names: dict[str, str], part: Part, want: str) -> Model:
        feeds = {
            name: Feed(f"input_{i}", self.shapes[ours])
            for i, (ours, name) in enumerate(names.items())
        }
        return cut(net, feeds, {want: self.shapes[part.output]})

    def _shapes(self, found: Matching) -> dict[str, Shape]:
        """The shapes on the first sample; pairs whose shapes differ are seen as no pairs later."""
        first = self.samples[0]
        shapes: dict[str, Shape] = {n: a.shape for n, a in first.items()}
        shapes |= self._ask(self._float, [p.original for p in found.pairs], first)
        if not self.alone:
            renamed = {p.candidate: first[p.original] for p in found.inputs}
            theirs = self._ask(self.candidate.model, [p.candidate for p in found.pairs], renamed)
            for pair in found.pairs:
                if theirs[pair.candidate] != shapes[pair.original]:
                    del shapes[pair.original]
        return shapes

    def _ask(self, model: Model, names: list[str], sample: Arrays) -> dict[str, Shape]:
        if not names:
            return {}
        probed, outputs = with_shapes(as_float32(model), names)
        with self.bench.loaded(probed):
            arrays = self.bench.run(sample)
        return {n: tuple(arrays[o].tolist()) for n, o in zip(names, outputs, strict=True)}

    def _is_cut(self, pair: Pair) -> bool:
        """Vectors and scalars are not cut: cv2 gives them another rank."""
        shape = self.shapes.get(pair.original)
        if shape is None or not prod(shape) or pair.original in self._uncut:
            return False
        value = self.original.values[pair.original]
        return len(shape) >= 2 or value in self.original.inputs or value.is_graph_output()

    def _make_parts(self, pairs: Sequence[Pair]) -> Iterator[Part]:
        to_original = {b: a for a, b in self._to_candidate.items()}
        ours = {self.original.values[n] for n in self._to_candidate}
        theirs = {self.candidate.values[n] for n in self._to_candidate.values()}
        index = 0
        for pair in pairs:
            if pair.original not in self._to_candidate:
                continue
            nodes, read = self.original.before(self.original.values[pair.original], ours)
            there, read_there = self.candidate.before(self.candidate.values[pair.candidate], theirs)
            inputs = dict.fromkeys(str(v.name) for v in read)
            inputs |= dict.fromkeys(to_original[str(v.name)] for v in read_there)
            if not there or not inputs:
                continue
            yield Part(
                index=index,
                name=_name(nodes),
                operators=_operators(nodes),
                layers=tuple(node_name(n) for n in _computing(nodes)),
                output=pair.original,
                candidate_output=pair.candidate,
                inputs=tuple(inputs),
                candidate_operators=_operators(there),
            )
            index += 1

    def _bytes(self, names: Iterable[str]) -> int:
        return 4 * len(self.samples) * sum(prod(self.shapes[n]) for n in names)


def alike(samples: Iterable[Arrays], count: int) -> tuple[list[Arrays], int]:
    """The samples that have the shapes of the first, and how many others were left out."""
    kept = list(islice(samples, count))
    shapes = {n: a.shape for n, a in kept[0].items()}
    same = [s for s in kept if {n: a.shape for n, a in s.items()} == shapes]
    return same, len(kept) - len(same)


def _check_outputs(names: Sequence[str], candidate: Net) -> None:
    theirs = [str(v.name) for v in candidate.graph.outputs]
    missing = [n for n in names if n not in theirs]
    if missing:
        raise UsageError(
            f"has no output '{missing[0]}', which the original has",
            where=candidate.model.name, remedy="Two forms of one model have the same outputs.",
        )  # fmt: skip


def _computing(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    return [n for n in nodes if n.op_type not in (*QUANTIZERS, "Constant")]


def _name(nodes: Sequence[ir.Node]) -> str:
    """The layer that gives the result, quantizers left aside."""
    return node_name((_computing(nodes) or list(nodes))[-1])


def _operators(nodes: Sequence[ir.Node]) -> str:
    names = [node.op_type for node in _computing(nodes)]
    if len(names) > 3:
        names = [names[0], f"{len(names) - 2} more", names[-1]]
    return " + ".join(names)
