"""Safe moves on a private copy of a model's graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.transforms.graph import is_standard, layer_name


class Edit:
    """A private copy of a model's graph, and the moves that transforms make on it.

    `done()` gives the new Model, or the very same one when no move was made.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._copy = model.edit()
        self._changed = False
        self._names: set[str] | None = None

    @property
    def graph(self) -> ir.Graph:
        return self._copy.graph

    @property
    def model(self) -> ir.Model:
        """The copy itself, to look at."""
        return self._copy

    @property
    def opset(self) -> int:
        return self._model.opset

    def done(self) -> Model:
        if not self._changed:
            return self._model
        return Model.freeze(self._copy, name=self._model.name)

    def fresh(self, stem: str) -> str:
        """A name that no value and no node of the model has: stem, stem_1, stem_2, ..."""
        if self._names is None:
            self._names = _all_names(self.graph)
        name, n = stem, 0
        while name in self._names:
            n += 1
            name = f"{stem}_{n}"
        self._names.add(name)
        return name

    def initializer(self, stem: str, array: np.ndarray | ir.TensorProtocol) -> ir.Value:
        """A new initializer."""
        name = self.fresh(stem)
        tensor = ir.Tensor(array, name=name) if isinstance(array, np.ndarray) else array
        shape = ir.Shape(tensor.shape.numpy())
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor
        )
        self.graph.register_initializer(value)
        if self._copy.ir_version < 4:  # where every initializer must be an input as well
            self.graph.inputs.append(value)
        self._changed = True
        return value

    def replace_constant(self, value: ir.Value, new: np.ndarray | ir.TensorProtocol) -> None:
        """Give an initializer, or a Constant node, another tensor; all its users see it."""
        tensor = ir.Tensor(new, name=value.name) if isinstance(new, np.ndarray) else new
        node = value.producer()
        if node is None:
            value.const_value = tensor
        else:
            node.attributes.clear()
            node.attributes["value"] = ir.AttrTensor("value", tensor)
        value.type = ir.TensorType(tensor.dtype)
        value.shape = ir.Shape(tensor.shape.numpy())
        self._changed = True

    def own_constant(self, node: ir.Node, index: int, array: np.ndarray, role: str) -> None:
        """Give a node a constant of its own at an input: others may share what stood there."""
        old = node.inputs[index] if index < len(node.inputs) else None
        if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
            self.replace_constant(old, array)
            return
        self.set_input(node, index, self.initializer(f"{layer_name(node)}.{role}", array))

    def set_input(self, node: ir.Node, index: int, value: ir.Value) -> None:
        """Feed `value` to a node, whose inputs grow where they are fewer."""
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
        self._changed = True

    def set_attribute(self, node: ir.Node, attribute: ir.Attr) -> None:
        """Give a node an attribute, in place of the one of that name."""
        node.attributes[attribute.name] = attribute
        self._changed = True

    def node(
        self, op_type: str, inputs: Sequence[ir.Value | None], stem: str, *, like: ir.Value | None,
        **attributes: int | float | Sequence[int],
    ) -> ir.Value:  # fmt: skip
        """Add a node with one output of the dtype and shape of `like`, and give that output.

        Placed at the end: `Model.freeze` sorts.
        """
        name = self.fresh(stem)
        output = ir.Value(name=self.fresh(f"{stem}_output"))
        if like is not None:
            output.type = like.type
            output.shape = like.shape.copy() if like.shape is not None else None
        self.graph.append(
            ir.Node("", op_type, inputs, _attributes(attributes), outputs=[output], name=name)
        )
        self._changed = True
        return output

    def copied(self, node: ir.Node, inputs: Sequence[ir.Value | None], stem: str) -> ir.Value:
        """Add the same operation on other inputs, and give its one output."""
        output = self.node(node.op_type, inputs, stem, like=None)
        made = output.producer()
        assert made is not None
        for attribute in node.attributes.values():
            made.attributes[attribute.name] = attribute
        return output

    def remove(self, node: ir.Node, heir: ir.Value) -> None:
        """Remove a node; `heir` takes the place, the name and the type of its first output."""
        old = node.outputs[0]
        inputs = tuple(node.inputs)
        old.replace_all_uses_with(heir, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        heir.name, heir.type = old.name, old.type
        if old.shape is not None:
            heir.shape = old.shape
        self._changed = True
        self.drop_unused(inputs)

    def put_behind(self, value: ir.Value, heir: ir.Value) -> None:
        """Let `heir`, made of `value`, take over its name, its shape and all its other readers."""
        maker = heir.producer()
        assert maker is not None
        places = [i for i, read in enumerate(maker.inputs) if read is value]
        value.replace_all_uses_with(heir, replace_graph_outputs=True)
        for index in places:
            maker.replace_input_with(index, value)
        heir.name, heir.type, heir.shape = value.name, value.type, value.shape
        value.name, value.shape = self.fresh(f"{value.name}.before"), None
        self._changed = True

    def remove_unused(self, node: ir.Node) -> None:
        """Remove a node whose output nothing uses, and the constants that only it used."""
        inputs = tuple(node.inputs)
        self.graph.remove(node, safe=True)
        self._changed = True
        self.drop_unused(inputs)

    def drop_unused(self, values: Iterable[ir.Value | None]) -> None:
        """Remove those constants among `values` that nothing uses any more."""
        for value in dict.fromkeys(values):
            if value is None or value.uses() or value.is_graph_output():
                continue
            producer = value.producer()
            if value.is_initializer():
                if value.is_graph_input():
                    self.graph.inputs.remove(value)
                self.graph.initializers.pop(str(value.name))
            elif producer is not None and is_standard(producer, "Constant"):
                self.graph.remove(producer, safe=True)


def _all_names(graph: ir.Graph) -> set[str]:
    names: set[str | None] = set()
    for body in (graph, *graph.subgraphs()):
        names.update(v.name for v in body.inputs)
        names.update(body.initializers)
    for node in graph.all_nodes():
        names.add(node.name)
        names.update(v.name for v in node.outputs)
    return {n for n in names if n}


def _attributes(attributes: Mapping[str, int | float | Sequence[int]]) -> list[ir.Attr]:
    made: list[ir.Attr] = []
    for key, value in attributes.items():
        if isinstance(value, int):
            made.append(ir.AttrInt64(key, value))
        elif isinstance(value, float):
            made.append(ir.AttrFloat32(key, value))
        else:
            made.append(ir.AttrInt64s(key, value))
    return made
