"""How the outputs of a model end: the operators behind which differences may vanish.

Where Softmax, Sigmoid or Clip is saturated, and behind every ArgMax, faulty weights leave an
output as it was. So a judge has to know the tensors that go into such operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from modelcheck.model.model import Model

SATURATING = frozenset({
    "ArgMax", "ArgMin", "Clip", "Erf", "HardSigmoid", "Hardmax", "LogSoftmax", "Sigmoid", "Sign",
    "Softmax", "Softsign", "Tanh", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
})  # fmt: skip
# What may stand between such an operator and the output. Of these every input is followed ...
_MIXING = frozenset({"Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Where"})
# ... and of these the first.
_PASSING = frozenset({
    "Cast", "DepthToSpace", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Gather",
    "Identity", "Neg", "QuantizeLinear", "Reshape", "Resize", "Slice", "Split", "Squeeze",
    "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample",
})  # fmt: skip
_FARTHEST = 200  # nodes: the end of a net, not all of it


@dataclass(frozen=True, slots=True)
class Ending:
    """The saturating operators at the end of one output, and the tensors that go into them."""

    operators: tuple[str, ...]
    tensors: tuple[str, ...]

    def describe(self) -> str:
        """'Softmax'; 'Sigmoid, Sigmoid'."""
        return ", ".join(self.operators)


def endings(model: Model) -> dict[str, Ending]:
    """The ending of each output that has one, by the output's name."""
    found = {}
    for output in model.graph.outputs:
        behind = dict(_behind(output))
        if behind:
            operators = tuple(node.op_type for node in behind.values())
            found[str(output.name)] = Ending(operators, tuple(behind))
    return found


def _behind(output: ir.Value) -> Iterator[tuple[str, ir.Node]]:
    """(tensor, the saturating operator that takes it), nearest to the output first."""
    waiting, seen = [output], {output}
    while waiting and len(seen) < _FARTHEST:
        node = waiting.pop(0).producer()
        if node is None or node.domain:
            continue
        sources = _sources(node)
        if node.op_type in SATURATING and sources and not _repeats(sources[0]):
            yield str(sources[0].name), node
        if node.op_type in SATURATING or node.op_type in _MIXING or node.op_type in _PASSING:
            waiting += [value for value in sources if value not in seen]
            seen.update(sources)


def _sources(node: ir.Node) -> list[ir.Value]:
    """The inputs that the values of the output come from, as far as the model computes them."""
    inputs = node.inputs if node.op_type in _MIXING else node.inputs[:1]
    return [v for v in inputs if v is not None and v.producer() is not None]


def _repeats(value: ir.Value) -> bool:
    """Whether the value is the result of another saturating operator, moved at most."""
    for _ in range(_FARTHEST):
        node = value.producer()
        if node is None or node.domain:
            return False
        if node.op_type in SATURATING:
            return bool(_sources(node))
        sources = _sources(node)
        if node.op_type not in _PASSING or not sources:
            return False
        value = sources[0]
    return False
