"""Names and dataflow: each value defined once, defined somewhere, and never by way of itself."""

from __future__ import annotations

import graphlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import onnx

from modelcheck.errors import InvalidInput, Unsupported, did_you_mean, printable

FunctionId = tuple[str, str, str]

MAX_INLINED_NODES = 1_000_000
_EXPORT_AGAIN = "Export the model again."
_RENAME = "Rename one of the two and export the model again."


def domain_of(message: onnx.NodeProto | onnx.FunctionProto | onnx.OperatorSetIdProto) -> str:
    """'ai.onnx' and '' are the same domain."""
    domain: str = message.domain
    return "" if domain == "ai.onnx" else domain


def call_id(node: onnx.NodeProto) -> FunctionId:
    return domain_of(node), node.op_type, node.overload


def function_id(function: onnx.FunctionProto) -> FunctionId:
    return domain_of(function), function.name, function.overload


def node_place(where: str, node: onnx.NodeProto) -> str:
    """'model.onnx, node 'conv1' (Conv)'; a nameless node is named by its output."""
    if node.name:
        title = f"node '{printable(node.name)}'"
    else:
        title = f"the node that makes '{printable(next(iter(node.output), ''))}'"
    return f"{where}, {title} ({printable(node.op_type)})"


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def check_graph_names(
    graph: onnx.GraphProto, where: str, outer: Sequence[frozenset[str] | set[str]] = ()
) -> set[str]:
    """Check a graph and its subgraphs; returns the names that it takes from outer scopes.

    An initializer may also be listed as an input. An output may be an input or an initializer of
    the same graph.
    """
    inputs = _unique((v.name for v in graph.input), "input", where)
    defined = inputs | _unique((t.name for t in graph.initializer), "initializer", where)
    defined.update(sparse.values.name for sparse in graph.sparse_initializer)  # refused later on
    outputs = _unique((v.name for v in graph.output), "output", where)
    free = check_node_names(graph.node, defined, where, outer)
    for name in outputs - defined:
        raise InvalidInput(
            f"output '{printable(name)}' is made by no node", where=where,
            remedy=_nearest(name, defined),
        )  # fmt: skip
    return free


def check_function_names(function: onnx.FunctionProto, where: str) -> None:
    """A function sees nothing but its inputs."""
    defined = _unique(function.input, "input", where)
    check_node_names(function.node, defined, where, ())
    for name in set(function.output) - defined:
        raise InvalidInput(
            f"output '{printable(name)}' is made by no node", where=where,
            remedy=_nearest(name, defined),
        )  # fmt: skip


def check_node_names(
    nodes: Sequence[onnx.NodeProto],
    defined: set[str],
    where: str,
    outer: Sequence[frozenset[str] | set[str]],
) -> set[str]:
    """Check the nodes of one scope; adds their outputs to `defined`, returns the free names."""
    seen = set(defined)
    for node in nodes:
        for name in node.output:
            if name in defined:
                raise InvalidInput(
                    f"makes '{printable(name)}', which already has a meaning",
                    where=node_place(where, node), remedy=_RENAME,
                )  # fmt: skip
            if name:
                defined.add(name)
    free: set[str] = set()
    needs: list[set[str]] = []
    in_order = True
    for node in nodes:
        needed = {name for name in node.input if name}
        for graph in subgraphs(node):
            place = f"{node_place(where, node)}, graph '{printable(graph.name)}'"
            needed |= check_graph_names(graph, place, (*outer, defined))
        if not needed <= seen:
            for name in needed - defined:
                if not any(name in scope for scope in outer):
                    raise InvalidInput(
                        f"takes '{printable(name)}', which no node, input or initializer defines",
                        where=node_place(where, node), remedy=_nearest(name, defined),
                    )  # fmt: skip
                free.add(name)
            in_order = in_order and (needed & defined) <= seen
        needs.append(needed)
        seen.update(node.output)
    if not in_order:
        _check_acyclic(nodes, needs, where)
    return free


def check_functions(functions: Sequence[onnx.FunctionProto], where: str) -> None:
    """Raise when a function is defined twice, calls itself, or grows beyond bounds when inlined."""
    calls: dict[FunctionId, list[FunctionId]] = {}
    for function in functions:
        if function_id(function) in calls:
            raise InvalidInput(
                f"function '{printable(function.name)}' is defined twice", where=where,
                remedy=_RENAME,
            )  # fmt: skip
        calls[function_id(function)] = list(_called(function.node))
    try:
        order = list(graphlib.TopologicalSorter(calls).static_order())
    except graphlib.CycleError as error:
        _, name, _ = error.args[1][0]
        raise InvalidInput(
            f"function '{printable(name)}' calls itself", where=where,
            remedy="Export the model without recursive functions (inline them).",
        ) from None  # fmt: skip
    # Thirty functions that call one another twice are a billion nodes once they are inlined.
    nodes: dict[FunctionId, int] = {}
    for caller in order:
        nodes[caller] = sum(nodes[c] for c in calls[caller]) if caller in calls else 1
        if nodes[caller] > MAX_INLINED_NODES:
            raise Unsupported(
                f"function '{printable(caller[1])}' is more than {MAX_INLINED_NODES:,} nodes when "
                "it is inlined",
                where=where, remedy="Export the model with its functions inlined.",
            )  # fmt: skip


def _called(nodes: Iterable[onnx.NodeProto]) -> Iterator[FunctionId]:
    for node in nodes:
        yield call_id(node)
        for graph in subgraphs(node):
            yield from _called(graph.node)


def _unique(names: Iterable[str], kind: str, where: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise InvalidInput(f"an {kind} has no name", where=where, remedy=_EXPORT_AGAIN)
        if name in seen:
            raise InvalidInput(
                f"{kind} '{printable(name)}' stands there twice", where=where, remedy=_RENAME
            )
        seen.add(name)
    return seen


def _check_acyclic(nodes: Sequence[onnx.NodeProto], needs: list[set[str]], where: str) -> None:
    """Kahn's algorithm; out-of-order nodes are fine, for `Model.freeze` sorts them."""
    maker = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waits = [{maker[name] for name in needed if name in maker} for needed in needs]
    users: list[list[int]] = [[] for _ in nodes]
    for i, before in enumerate(waits):
        for j in before:
            users[j].append(i)
    left = [len(before) for before in waits]
    ready = deque(i for i, count in enumerate(left) if not count)
    done = 0
    while ready:
        done += 1
        for user in users[ready.popleft()]:
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    if done < len(nodes):
        node = nodes[next(i for i, count in enumerate(left) if count)]
        raise InvalidInput(
            "needs its own output: the graph has a cycle", where=node_place(where, node),
            remedy=_EXPORT_AGAIN,
        )  # fmt: skip


def _nearest(name: str, known: set[str]) -> str:
    # Comparing with ten thousand names, or with one of a megabyte, would take minutes.
    short = [k for k in known if len(k) <= 200][:2000]
    return (did_you_mean(name, short) if len(name) <= 200 else None) or _EXPORT_AGAIN
