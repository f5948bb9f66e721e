"""Operators: known, of a kind that can be verified, with the inputs and attributes they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import onnx

from modelcheck.errors import InvalidInput, ModelcheckError, Unsupported, did_you_mean, printable
from modelcheck.model.checks_names import call_id, domain_of
from modelcheck.model.checks_values import Body

_A = onnx.AttributeProto

# Removed from the standard long ago, still in use in opset 7 models (as onnx's own checker knows).
_EXPERIMENTAL = frozenset({
    "ATen", "Affine", "ConstantFill", "Crop", "DynamicSlice", "GRUUnit", "GivenTensorFill",
    "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh",
})  # fmt: skip
_UNCHECKED_DOMAINS = frozenset({"com.microsoft"})

_RANDOM = frozenset({
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
    "Bernoulli",
})  # fmt: skip
_LOOPS = frozenset({"Loop", "Scan"})

# What an attribute's type says about the field that must be filled.
_FIELD_OF_TYPE = {
    _A.TENSOR: "t", _A.GRAPH: "g", _A.SPARSE_TENSOR: "sparse_tensor", _A.TYPE_PROTO: "tp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schema:
    """What is needed of onnx.defs.OpSchema, in plain Python."""

    min_input: int
    max_input: int
    min_output: int
    max_output: int
    attributes: Mapping[str, tuple[int, bool]]  # name -> (type, required)
    deprecated: bool


@cache
def schema(domain: str, op_type: str, opset: int) -> Schema | None:
    """The operator as of this opset, or None when it has none there."""
    if not onnx.defs.has(op_type, opset, domain):
        return None
    found = onnx.defs.get_schema(op_type, opset, domain)
    attributes = {n: (int(a.type.value), a.required) for n, a in found.attributes.items()}  # type: ignore[attr-defined]
    return Schema(
        found.min_input, found.max_input, found.min_output, found.max_output,
        attributes, found.deprecated,
    )  # fmt: skip


def check_operator(node: onnx.NodeProto, body: Body) -> None:
    """Raise unless the operator is known, can be verified, and is used as its schema says."""
    domain = domain_of(node)
    _check_attribute_values(node, body)
    if call_id(node) in body.functions:
        return
    if domain not in body.opsets or domain not in _domains():
        raise _unknown_domain(node, domain, body)
    if domain in _UNCHECKED_DOMAINS or (domain == "" and node.op_type in _EXPERIMENTAL):
        return
    known = schema(domain, node.op_type, body.opsets[domain])
    if known is None or known.deprecated:
        raise _unknown_operator(node, domain, body, removed=known is not None)
    if domain == "":
        _check_verifiable(node, body)
    _check_against_schema(node, known, body)


def _check_attribute_values(node: onnx.NodeProto, body: Body) -> None:
    """Each attribute once, with a type that is filled in."""
    names: set[str] = set()
    for attribute in node.attribute:
        name = attribute.name
        if name in names or not name:
            what = (
                f"gives attribute '{printable(name)}' twice" if name else "has a nameless attribute"
            )
            raise _invalid(node, body, what)
        names.add(name)
        if attribute.ref_attr_name:
            continue
        field = _FIELD_OF_TYPE.get(attribute.type)
        if attribute.type == _A.UNDEFINED or (field and not attribute.HasField(field)):
            raise _invalid(node, body, f"attribute '{printable(name)}' has no value")
        if attribute.type in (_A.SPARSE_TENSOR, _A.SPARSE_TENSORS):
            continue  # checked, and refused, with the tensors
        if attribute.type in (_A.STRING, _A.STRINGS):
            for text in (attribute.s, *attribute.strings):
                try:
                    text.decode()
                except UnicodeDecodeError:
                    raise _invalid(
                        node, body, f"attribute '{printable(name)}' is not UTF-8 text"
                    ) from None


def _check_against_schema(node: onnx.NodeProto, known: Schema, body: Body) -> None:
    given = list(node.input)
    while given and not given[-1]:
        given.pop()
    if not known.min_input <= len(given) <= known.max_input:
        raise _invalid(
            node, body,
            f"takes {len(given)} inputs where {_range(known.min_input, known.max_input)} are due",
        )  # fmt: skip
    if not known.min_output <= len(node.output) <= known.max_output:
        raise _invalid(
            node, body,
            f"makes {len(node.output)} outputs where "
            f"{_range(known.min_output, known.max_output)} are due",
        )  # fmt: skip
    present = set()
    for attribute in node.attribute:
        present.add(attribute.name)
        expected = known.attributes.get(attribute.name)
        if expected is not None and attribute.type != expected[0]:
            raise _invalid(
                node, body,
                f"attribute '{attribute.name}' is of type {_type_name(attribute.type)}, "
                f"not {_type_name(expected[0])}",
            )  # fmt: skip
    for name, (_, required) in known.attributes.items():
        if required and name not in present:
            raise _invalid(node, body, f"lacks its attribute '{name}'")


def _check_verifiable(node: onnx.NodeProto, body: Body) -> None:
    """Refuse what gives no repeatable answer, or none at all in cv2.dnn."""
    op_type = node.op_type
    if op_type in _LOOPS:
        raise Unsupported(
            f"{op_type} runs in no version of cv2.dnn", where=body.place(node),
            remedy="Unroll the loop when exporting.",
        )  # fmt: skip
    if op_type in _RANDOM:
        raise Unsupported(
            f"{op_type} gives another answer each time, so no output can be verified",
            where=body.place(node), remedy="Feed the random numbers as an input.",
        )  # fmt: skip
    if op_type in ("Dropout", "BatchNormalization") and _is_training(node, body):
        raise Unsupported(
            f"{op_type} is in training mode", where=body.place(node),
            remedy="Export the model for inference (model.eval() in PyTorch).",
        )  # fmt: skip
    if op_type == "Cast":
        for attribute in node.attribute:
            if attribute.name == "to" and not attribute.ref_attr_name:
                body.check_cast(attribute.i, node)


def _is_training(node: onnx.NodeProto, body: Body) -> bool:
    attributes = {a.name: a.i for a in node.attribute if not a.ref_attr_name}
    if body.opsets[""] < 7:
        return not attributes.get("is_test", 0)
    if attributes.get("training_mode", 0):
        return True
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        mode = body.constant(node.input[2])
        return mode is None or bool(mode.any())  # a mode that is computed may be on
    return False


def _unknown_operator(
    node: onnx.NodeProto, domain: str, body: Body, *, removed: bool
) -> ModelcheckError:
    opset = body.opsets[domain]
    name = printable(node.op_type)
    title = f"{name} of {printable(domain)}" if domain else name
    if removed:
        what = f"{title} was removed from ONNX by opset {opset}"
    else:
        what = f"{title} is no operator of opset {opset}"
    later = _names(domain)
    if node.op_type in later and not removed:
        remedy = (
            f"It came with a later opset: export with opset {_first_opset(domain, node.op_type)}."
        )
    else:
        remedy = did_you_mean(name, later) or "Export with operators of the ONNX standard."
    return Unsupported(what, where=body.place(node), remedy=remedy)


def _unknown_domain(node: onnx.NodeProto, domain: str, body: Body) -> ModelcheckError:
    shown = printable(domain) or "ai.onnx"
    if domain in _domains():
        return _invalid(
            node, body, f"is of domain '{shown}', for which the model has no opset import"
        )
    return Unsupported(
        f"is of the unknown domain '{shown}'", where=body.place(node),
        remedy="Export with operators of the ONNX standard, or add the function that defines it.",
    )  # fmt: skip


@cache
def _domains() -> frozenset[str]:
    return _UNCHECKED_DOMAINS | {s.domain for s in onnx.defs.get_all_schemas()}


@cache
def _names(domain: str) -> frozenset[str]:
    return frozenset(s.name for s in onnx.defs.get_all_schemas() if s.domain == domain)


def _first_opset(domain: str, op_type: str) -> int:
    return min(
        s.since_version
        for s in onnx.defs.get_all_schemas_with_history()
        if s.domain == domain and s.name == op_type
    )


def _invalid(node: onnx.NodeProto, body: Body, what: str) -> InvalidInput:
    return InvalidInput(what, where=body.place(node), remedy="Export the model again.")


def _range(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"at least {low}" if high >= 2**31 - 1 else f"{low} to {high}"


def _type_name(attribute_type: int) -> str:
    try:
        return str(_A.AttributeType.Name(attribute_type))
    except ValueError:
        return str(attribute_type)
