"""Valid models that cannot be served."""

from __future__ import annotations

import numpy as np
import onnx
from bad_cases import changed, invalid, one_node, unsupported
from onnx import TensorProto, helper, numpy_helper
from small_models import info, ints, model_of, weight


@unsupported("'n'", "Rellu", "Did you mean 'Relu'")
def unknown_operator():
    return one_node("Rellu", ["x"])


@unsupported("HardSwish is no operator of opset 11", "opset 14")
def operator_of_a_later_opset():
    return one_node("HardSwish", ["x"], opset=11)


@unsupported("Upsample was removed", "opset 17")
def removed_operator():
    return one_node("Upsample", ["x", "s"], [weight("s", 4)])


@unsupported("'n'", "domain 'acme.ops'")
def unknown_domain():
    n = helper.make_node("Magic", ["x"], ["y"], name="n", domain="acme.ops")
    return model_of([n], domains=["acme.ops"])


@invalid("'n'", "com.microsoft", "import")
def domain_that_is_not_imported():
    n = helper.make_node("FusedConv", ["x", "x"], ["y"], name="n", domain="com.microsoft")
    return model_of([n])


@unsupported("input 'text'", "string")
def string_input():
    return changed(lambda m: m.graph.input.append(info("text", [1], TensorProto.STRING)))


@unsupported("input 's'", "sequence")
def sequence_input():
    value = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    return changed(lambda m: m.graph.input.append(value))


@unsupported("input 'o'", "optional")
def optional_input():
    tensor_type = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    value = helper.make_value_info("o", helper.make_optional_type_proto(tensor_type))
    return changed(lambda m: m.graph.input.append(value))


@unsupported("output 's'", "sequence")
def sequence_output():
    n = helper.make_node("SplitToSequence", ["x"], ["s"], name="n")
    return model_of(
        [n], outputs=[helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)]
    )


@invalid("input 'z'", "no type")
def input_without_a_type():
    return changed(lambda m: m.graph.input.append(onnx.ValueInfoProto(name="z")))


@invalid("input 'z'", "negative dim -7")
def input_with_a_negative_dim():
    return changed(lambda m: m.graph.input.append(info("z", [-7])))


def _loop_body() -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Relu", ["state"], ["next"]),
        ],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("state", None)],
        [info("go_on", [], TensorProto.BOOL), info("next", None)],
    )


@unsupported("'n'", "Loop", "Unroll")
def loop():
    return one_node("Loop", ["times", "", "x"], [ints("times", 3)], body=_loop_body())


@unsupported("Scan")
def scan():
    body = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["b"])], "body", [info("a", None)], [info("b", None)]
    )
    return one_node("Scan", ["x"], body=body, num_scan_inputs=1)


@unsupported("Loop", "graph 'branch'")
def loop_inside_a_branch():
    inner = helper.make_node("Loop", ["times", "", "x"], ["t"], body=_loop_body())
    branch = helper.make_graph([inner], "branch", [], [info("t", None)])
    n = helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch)
    return model_of(
        [n], [info("c", [], TensorProto.BOOL), info("x", [1])], initializers=[ints("times", 3)]
    )


@unsupported("'n'", "RandomNormalLike", "another answer")
def random_numbers():
    return one_node("RandomNormalLike", ["x"])


@unsupported("'n'", "Dropout", "training mode")
def dropout_in_training_mode():
    on = numpy_helper.from_array(np.array(True), "on")
    ratio = numpy_helper.from_array(np.array(0.5, np.float32), "ratio")
    return one_node("Dropout", ["x", "ratio", "on"], [ratio, on])


@unsupported("'n'", "BatchNormalization", "training mode")
def batch_normalization_in_training_mode():
    parts = [weight(name, 3) for name in ("s", "b", "m", "v")]
    return one_node("BatchNormalization", ["x", "s", "b", "m", "v"], parts, training_mode=1)
