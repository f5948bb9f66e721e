"""Which tensor of the candidate is which tensor of the original: by name, else by structure.

Structure: both graphs are walked from their outputs backwards, which gives the same order however
the nodes stand in the file and whatever they are called; the two sequences of operators are then
aligned. A BatchNormalization counts as a part of the layer before it, a quantizer as nothing.
Pairs whose order contradicts the others' are dropped.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import onnx_ir as ir

from modelcheck.diagnose.net import Net, stem
from modelcheck.model.scene import QUANTIZERS
from modelcheck.transforms.graph import LAYERS, constant

# Names decide where they match at least this share of the tensors of the smaller model.
_NAMES_DECIDE = 0.5
_TRANSPARENT = frozenset((*QUANTIZERS, "Constant", "Identity", "Cast", "Dropout"))


@dataclass(frozen=True, slots=True)
class Pair:
    """The same tensor in both models, by the name it has in each."""

    original: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Inputs first, then tensors in the candidate's topological order."""

    inputs: tuple[Pair, ...]
    pairs: tuple[Pair, ...]
    by_name: bool
    original_only: int  # tensors without a counterpart
    candidate_only: int


def match(original: Net, candidate: Net) -> Matching:
    """Pair the tensors of two models. Pure."""
    ours = {str(v.name): v for v in original.cuttable()}
    theirs = {str(v.name): v for v in candidate.cuttable()}
    found = _by_name(ours, theirs)
    by_name = len(found) >= _NAMES_DECIDE * min(len(ours), len(theirs))
    if not by_name:
        found = _by_structure(original, candidate)
    found = [(a, b) for a, b in found if a in ours and b in theirs]
    kept = _increasing(found, original, candidate)
    kept.sort(key=lambda pair: _place(candidate, pair[1]))
    return Matching(
        inputs=_inputs(original, candidate),
        pairs=tuple(Pair(a, b) for a, b in kept),
        by_name=by_name,
        original_only=len(ours) - len(kept),
        candidate_only=len(theirs) - len(kept),
    )


def _inputs(original: Net, candidate: Net) -> tuple[Pair, ...]:
    ours, theirs = ([str(v.name) for v in net.inputs] for net in (original, candidate))
    if set(ours) == set(theirs):
        return tuple(Pair(name, name) for name in ours)
    return tuple(map(Pair, ours, theirs))


def _by_name(ours: Mapping[str, ir.Value], theirs: Mapping[str, ir.Value]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for name in theirs:  # a tensor under its own name is better than what a quantizer made of it
        if name in ours:
            found[name] = name
    for name in theirs:
        if stem(name) in ours and stem(name) not in found:
            found[stem(name)] = name
    return list(found.items())


def _by_structure(original: Net, candidate: Net) -> list[tuple[str, str]]:
    ours, theirs = _layers(original), _layers(candidate)
    tokens, others = ([_token(node) for node, _ in side] for side in (ours, theirs))
    matcher = SequenceMatcher(None, tokens, others, autojunk=False)
    found = []
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            results = (ours[block.a + i][1], theirs[block.b + i][1])
            found += [
                (str(a.name), str(b.name))
                for a, b in zip(*results, strict=False)
                if a.name and b.name
            ]
    return found


def _layers(net: Net) -> list[tuple[ir.Node, Sequence[ir.Value]]]:
    """Each node that computes, and where its results are to be found, from the outputs back."""
    found: dict[ir.Node, Sequence[ir.Value]] = {}
    for node in _canonical(net):
        layer = _normalized_layer(node)
        if layer in found:
            assert layer is not None
            found[layer] = node.outputs[:1]
        elif node.op_type not in _TRANSPARENT:
            found[node] = node.outputs
    return list(found.items())


def _normalized_layer(node: ir.Node) -> ir.Node | None:
    """The layer whose result a BatchNormalization alone reads."""
    if node.op_type != "BatchNormalization" or node.inputs[0] is None:
        return None
    layer = node.inputs[0].producer()
    alone = len(node.inputs[0].uses()) == 1
    return layer if layer is not None and alone and layer.op_type in LAYERS else None


def _canonical(net: Net) -> list[ir.Node]:
    """The nodes in depth-first postorder from the outputs."""
    done: dict[ir.Node, None] = {}
    for output in sorted(net.graph.outputs, key=lambda v: str(v.name)):
        waiting: list[tuple[ir.Value, bool]] = [(output, False)]
        while waiting:
            value, entered = waiting.pop()
            node = value.producer()
            if node is None or node in done:
                continue
            if entered:
                done[node] = None
                continue
            waiting.append((value, True))
            waiting += [(v, False) for v in reversed(node.inputs) if v is not None]
    return list(done)


def _token(node: ir.Node) -> tuple[object, ...]:
    name = node.op_type.removeprefix("QLinear")
    settings = [
        (key, str(node.attributes[key].value))
        for key in ("strides", "group", "axis", "perm")
        if key in node.attributes
    ]
    return (name, *settings, *(() if name not in LAYERS else _weight_shape(node)))


def _weight_shape(node: ir.Node) -> tuple[object, ...]:
    for value in node.inputs[1:]:
        source = value
        while source is not None and (made := source.producer()) is not None:
            if made.op_type not in (*QUANTIZERS, "Cast"):
                break
            source = made.inputs[0]
        tensor = constant(source)
        if tensor is not None and len(tensor.shape) >= 2:
            return tuple(tensor.shape.numpy())
    return ()


def _increasing(
    pairs: list[tuple[str, str]], original: Net, candidate: Net
) -> list[tuple[str, str]]:
    """Without the fewest pairs that cross others: the longest chain that rises on both sides."""
    first, second = ({n: i for i, n in enumerate(_canonical(net))} for net in (original, candidate))
    placed = sorted(
        (_rank(first, original, a), _rank(second, candidate, b), a, b) for a, b in pairs
    )
    tails: list[tuple[int, int]] = []
    ends: list[int] = []
    back: list[int | None] = []
    for i, (_, place, _, _) in enumerate(placed):
        at = bisect.bisect_right(tails, (place, len(placed)))
        back.append(ends[at - 1] if at else None)
        if at == len(tails):
            tails.append((place, i))
            ends.append(i)
        else:
            tails[at], ends[at] = (place, i), i
    chain = []
    at_end = ends[-1] if ends else None
    while at_end is not None:
        chain.append(placed[at_end][2:])
        at_end = back[at_end]
    return chain[::-1]


def _rank(places: dict[ir.Node, int], net: Net, name: str) -> int:
    producer = net.values[name].producer()
    return -1 if producer is None else places.get(producer, len(places))


def _place(net: Net, name: str) -> int:
    producer = net.values[name].producer()
    return -1 if producer is None else net.order[producer]
