"""Broken graphs: names, dataflow, functions, versions."""

from __future__ import annotations

import onnx
from bad_cases import changed, invalid, unsupported
from onnx import TensorProto, helper
from small_models import convnet, info, model_of, node, tensor


@invalid("holds no graph")
def no_graph():
    model = convnet()
    model.ClearField("graph")
    return model


@invalid("no outputs")
def no_outputs():
    return changed(lambda m: m.graph.ClearField("output"))


@invalid("'conv'", "(Conv)", "'w'", "defines")
def missing_initializer():
    def drop(m):
        m.graph.initializer.remove(tensor(m, "w"))

    return changed(drop)


@invalid("'gww'", "Did you mean 'gw'")
def misspelt_initializer():
    def rename(m):
        node(m, "gemm").input[1] = "gww"

    return changed(rename)


@invalid("input 'x'", "twice")
def duplicate_graph_input():
    return changed(lambda m: m.graph.input.append(m.graph.input[0]))


@invalid("output 'y'", "twice")
def duplicate_graph_output():
    return changed(lambda m: m.graph.output.append(m.graph.output[0]))


@invalid("initializer 'w'", "twice")
def duplicate_initializer():
    return changed(lambda m: m.graph.initializer.append(tensor(m, "w")))


@invalid("'relu'", "'c'", "already")
def duplicate_node_output():
    def clash(m):
        node(m, "relu").output[0] = "c"

    return changed(clash)


@invalid("'relu'", "'w'", "already")
def node_output_that_is_an_initializer():
    def clash(m):
        node(m, "relu").output[0] = "w"

    return changed(clash)


@invalid("no name")
def nameless_initializer():
    def blank(m):
        tensor(m, "b").name = ""

    return changed(blank)


@invalid("output 'z'", "made by no node")
def dangling_graph_output():
    def rename(m):
        m.graph.output[0].name = "z"

    return changed(rename)


@invalid("cycle")
def cycle():
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    return model_of(nodes)


@invalid("cycle")
def cycle_through_a_subgraph():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["late"], ["t"])], "branch", [], [info("t", None)]
    )
    nodes = [
        helper.make_node("If", ["c"], ["early"], name="if", then_branch=branch, else_branch=branch),
        helper.make_node("Relu", ["early"], ["late"], name="relu"),
        helper.make_node("Relu", ["late"], ["y"]),
    ]
    return model_of(nodes, [info("c", [], TensorProto.BOOL)])


@invalid("'nowhere'", "graph 'branch'")
def subgraph_that_takes_an_undefined_name():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["nowhere"], ["t"])], "branch", [], [info("t", None)]
    )
    n = helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch)
    return model_of([n], [info("c", [], TensorProto.BOOL)])


def _function(name: str, *nodes, outputs=("b",)) -> onnx.FunctionProto:
    return helper.make_function(
        "own", name, ["a"], list(outputs), list(nodes),
        [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
    )  # fmt: skip


def _calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    n = helper.make_node("F", ["x"], ["y"], domain="own", name="call")
    return model_of([n], functions=functions, domains=["own"])


@invalid("function 'F'", "calls itself")
def function_that_calls_itself():
    return _calling(_function("F", helper.make_node("F", ["a"], ["b"], domain="own")))


@invalid("calls itself")
def functions_that_call_each_other():
    return _calling(
        _function("F", helper.make_node("G", ["a"], ["b"], domain="own")),
        _function("G", helper.make_node("F", ["a"], ["b"], domain="own")),
    )


@unsupported("function 'F", "inlined")
def functions_that_grow_beyond_bounds():
    deeper = [
        _function(
            f"F{i}",
            helper.make_node(f"F{i + 1}", ["a"], ["t"], domain="own"),
            helper.make_node(f"F{i + 1}", ["t"], ["b"], domain="own"),
        )
        for i in range(40)
    ]
    return _calling(
        _function("F", helper.make_node("F0", ["a"], ["b"], domain="own")),
        *deeper,
        _function("F40", helper.make_node("Relu", ["a"], ["b"])),
    )


@invalid("function 'F'", "defined twice")
def function_defined_twice():
    body = helper.make_node("Relu", ["a"], ["b"])
    return _calling(_function("F", body), _function("F", body))


@invalid("function 'F'", "'ghost'")
def function_that_takes_an_undefined_name():
    return _calling(_function("F", helper.make_node("Add", ["a", "ghost"], ["b"])))


@invalid("function 'F'", "output 'b'")
def function_without_its_output():
    return _calling(_function("F", helper.make_node("Relu", ["a"], ["c"])))


@invalid("opset 0")
def opset_zero():
    def zero(m):
        m.opset_import[0].version = 0

    return changed(zero)


@invalid("imports no operator set")
def opset_missing():
    return changed(lambda m: m.ClearField("opset_import"))


@invalid("both opset 17 and opset 13")
def opset_ambiguous():
    return changed(lambda m: m.opset_import.add(domain="ai.onnx", version=13))


@invalid("no IR version")
def ir_version_missing():
    return changed(lambda m: m.ClearField("ir_version"))


@unsupported("opset 999")
def opset_newer():
    def new(m):
        m.opset_import[0].version = 999

    return changed(new)


@unsupported("IR version 999")
def ir_version_newer():
    def new(m):
        m.ir_version = 999

    return changed(new)
