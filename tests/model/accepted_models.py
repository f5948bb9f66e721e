"""Valid models, however unusual, that must load."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_models import convnet, info, ints, model_of, node, tensor, weight

CASES = {}


def accepted(build):
    CASES[build.__name__] = build
    return build


accepted(convnet)


@accepted
def initializers_that_are_also_inputs():
    model = convnet()
    model.ir_version = 3
    for t in model.graph.initializer:
        model.graph.input.append(info(t.name, t.dims))
    return model


@accepted
def typed_fields():
    model = convnet()
    for name in ("w", "gw", "gb"):
        t = tensor(model, name)
        t.float_data.extend(numpy_helper.to_array(t).reshape(-1).tolist())
        t.ClearField("raw_data")
    return model


@accepted
def typed_fields_of_every_type():
    types = {
        "double_data": (TensorProto.DOUBLE,),
        "int32_data": (
            TensorProto.INT32, TensorProto.INT16, TensorProto.INT8, TensorProto.UINT16,
            TensorProto.UINT8, TensorProto.BOOL, TensorProto.FLOAT16,
        ),
        "int64_data": (TensorProto.INT64,),
        "uint64_data": (TensorProto.UINT64, TensorProto.UINT32),
    }  # fmt: skip
    tensors = []
    for field, dtypes in types.items():
        for dtype in dtypes:
            t = TensorProto(name=f"t{dtype}", dims=[2], data_type=dtype)
            getattr(t, field).extend([0, 1])
            tensors.append(t)
    model = convnet()
    model.graph.initializer.extend(tensors)
    return model


@accepted
def float16_weights():
    w = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "w")
    n = helper.make_node("Conv", ["x", "w"], ["y"])
    half = TensorProto.FLOAT16
    return model_of([n], [info("x", [1, 3, 8, 8], half)], [info("y", None, half)], [w])


@accepted
def empty_optional_input_and_output():
    clip = helper.make_node("Clip", ["x", "", "high"], ["c"], name="clip")
    drop = helper.make_node("MaxPool", ["c"], ["y", ""], name="pool", kernel_shape=[2, 2])
    return model_of([clip, drop], initializers=[weight("high")])


@accepted
def output_that_is_an_input():
    model = convnet()
    model.graph.output.append(info("x", [1, 3, 8, 8]))
    return model


@accepted
def output_that_is_an_initializer():
    model = convnet()
    model.graph.output.append(info("gb", [5]))
    return model


@accepted
def identity_graph():
    return model_of([], outputs=[info("x", [1, 3, 8, 8])])


@accepted
def zero_size_dims():
    empty = numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty")
    n = helper.make_node("Concat", ["x", "empty"], ["y"], axis=0)
    return model_of([n], [info("x", [2, 3])], initializers=[empty])


@accepted
def scalar_weights():
    n = helper.make_node("Mul", ["x", "k"], ["y"])
    return model_of([n], initializers=[weight("k")])


@accepted
def free_dims_in_all_their_forms():
    return model_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        [info("x", ["N", 3, None, -1])],
        [info("y", None)],
    )


def _renamed(name: str) -> onnx.ModelProto:
    model = convnet()
    tensor(model, "gw").name = name
    node(model, "gemm").input[1] = name
    node(model, "relu").name = name
    return model


@accepted
def names_with_quotes_and_markup():
    return _renamed("""'"<script>alert(1)</script>&amp;=cmd|'""")


@accepted
def names_with_control_codes():
    return _renamed("\x1b[31m\r\n\u202e\x07")


@accepted
def names_with_nul():
    return _renamed("a\0b")


@accepted
def names_of_a_megabyte():
    return _renamed("n" * 2**20)


@accepted
def names_beyond_ascii():
    return _renamed("重み😀")


@accepted
def nameless_nodes():
    model = convnet()
    for n in model.graph.node:
        n.name = ""
    return model


@accepted
def nodes_out_of_order():
    model = convnet()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@accepted
def subgraphs_that_capture_outer_names():
    def branch(name: str, outer: str) -> onnx.GraphProto:
        nodes = [helper.make_node("Add", [outer, f"{name}_w"], [f"{name}_y"])]
        return helper.make_graph(
            nodes, name, [], [info(f"{name}_y", None)], [weight(f"{name}_w", 300)]
        )

    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("then", "r"), else_branch=branch("else", "k")
        ),
    ]
    inputs = [info("x", [300]), info("c", [], TensorProto.BOOL)]
    return model_of(nodes, inputs, initializers=[weight("k", 300)])


@accepted
def local_functions():
    inner = helper.make_function(
        "own", "Inner", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    body = [
        helper.make_node("Inner", ["p"], ["q"], domain="own"),
        helper.make_node("LeakyRelu", ["q"], ["r"]),
    ]
    body[1].attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    )
    outer = helper.make_function(
        "own", "Outer", ["p"], ["r"], body,
        [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], ["slope"],
    )  # fmt: skip
    call = helper.make_node("Outer", ["x"], ["y"], domain="own", slope=0.5)
    return model_of([call], functions=[outer, inner], domains=["own"])


@accepted
def equal_opset_imports_twice():
    model = convnet()
    model.opset_import.add(domain="", version=17)
    return model


@accepted
def default_domain_by_its_long_name():
    model = convnet()
    model.opset_import[0].domain = "ai.onnx"
    for n in model.graph.node:
        n.domain = "ai.onnx"
    return model


@accepted
def operators_of_other_known_domains():
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        helper.make_node("Scaler", ["g"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
    ]
    return model_of(nodes, domains=["com.microsoft", "ai.onnx.ml"])


@accepted
def experimental_operators_of_old():
    nodes = [
        helper.make_node("ImageScaler", ["x"], ["s"], scale=1.0, bias=[0.0, 0.0, 0.0]),
        helper.make_node("Crop", ["s"], ["c"], border=[1, 1, 1, 1]),
        helper.make_node("Affine", ["c"], ["y"], alpha=2.0),
    ]
    return model_of(nodes, opset=7, ir_version=3)


@accepted
def dropout_for_inference():
    off = numpy_helper.from_array(np.array(False), "off")
    nodes = [
        helper.make_node("Dropout", ["x", "", "off"], ["d"]),
        helper.make_node("Dropout", ["d"], ["y"]),
    ]
    return model_of(nodes, initializers=[off])


@accepted
def infinity_in_a_mask_and_in_bounds():
    mask = numpy_helper.from_array(np.float32([[0, -np.inf], [0, 0]]), "mask")
    low = numpy_helper.from_array(np.float32(-np.inf), "low")
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["a"]),
        helper.make_node("Clip", ["a", "low"], ["y"]),
    ]
    return model_of(nodes, [info("x", [2, 2])], initializers=[mask, low])


@accepted
def infinity_in_a_bound_before_a_matmul():
    nodes = [
        helper.make_node("Clip", ["x"], ["c"], min=0.0, max=float("inf")),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    return model_of(nodes, [info("x", [2, 3])], initializers=[weight("w", 3, 3)], opset=7)


@accepted
def nan_among_integers():
    """The bits of NaN are an ordinary int32."""
    bits = numpy_helper.from_array(np.array([0x7FC00000], np.int32), "bits")
    model = convnet()
    model.graph.initializer.append(bits)
    return model


@accepted
def reshapes_with_zero_and_minus_one():
    n = helper.make_node("Reshape", ["x", "s"], ["y"])
    return model_of([n], initializers=[ints("s", 0, -1, 1)])


@accepted
def unused_initializers_and_value_infos():
    model = convnet()
    model.graph.initializer.append(weight("unused", 500))
    model.graph.value_info.extend([info("r", [1, 4, 6, 6]), info("nobody", [3])])
    return model


@accepted
def ten_thousand_nodes():
    nodes = [
        helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], name=f"n{i}") for i in range(10_000)
    ]
    return model_of(nodes, [info("v0", [1, 4])], [info("v10000", [1, 4])])
