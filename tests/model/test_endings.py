"""Which tensors stand before a saturating end: found through moves, products and branches."""

from __future__ import annotations

import pytest

from modelcheck.model.endings import endings
from modelcheck.testing.net import Net, Tensor


def net_ending(*operators: str) -> tuple[Net, Tensor, Tensor]:
    """A convolution, then these operators one after the other; (net, convolution, output)."""
    net = Net()
    x = net.input((3, 4, 4))
    scores = net.add("Conv", [x, net.weight((6, 3, 1, 1))], (6, 4, 4))
    last = scores
    for operator in operators:
        attributes = {"perm": [0, 2, 3, 1]} if operator == "Transpose" else {}
        last = net.add(operator, [last], **attributes)
    net.outputs.append(last)
    return net, scores, last


@pytest.mark.parametrize(
    "operators",
    [
        ("Sigmoid",),
        ("Tanh", "Identity"),
        ("Transpose", "Softmax"),
        ("LogSoftmax", "Transpose", "Flatten"),
        ("Clip", "Squeeze"),
    ],
)
def test_what_goes_into_the_last_operator_is_found(operators: tuple[str, ...]) -> None:
    net, scores, _ = net_ending(*operators)
    (found,) = endings(net.model()).values()
    assert len(found.operators) == 1
    assert found.operators[0] in operators
    if operators[0] != "Transpose":
        assert found.tensors == (scores.name,)


def test_scores_behind_softmax_and_argmax_are_named_once() -> None:
    net, scores, _ = net_ending("Softmax", "ArgMax")
    (found,) = endings(net.model()).values()
    assert found.tensors == (scores.name,)
    assert found.operators == ("Softmax",)


@pytest.mark.parametrize("operators", [(), ("Relu",), ("Sigmoid", "Relu"), ("Sigmoid", "Exp")])
def test_an_output_that_does_not_end_so_has_no_ending(operators: tuple[str, ...]) -> None:
    net, _, _ = net_ending(*operators)
    assert endings(net.model()) == {}


def test_every_branch_of_a_head_is_found() -> None:
    net = Net()
    x = net.input((3, 4, 4))
    branches = []
    for operator in ("Sigmoid", "Sigmoid", "Tanh"):
        made = net.add("Conv", [x, net.weight((2, 3, 1, 1))], (2, 4, 4))
        branches.append((made.name, net.add(operator, [made])))
    product = net.add("Mul", [branches[0][1], branches[1][1]])
    net.outputs.append(net.add("Concat", [product, branches[2][1]], (4, 4, 4), axis=1))
    (found,) = endings(net.model()).values()
    assert sorted(found.tensors) == sorted(name for name, _ in branches)
    assert sorted(found.operators) == ["Sigmoid", "Sigmoid", "Tanh"]


def test_a_sum_with_a_clipped_branch_keeps_the_other_branch() -> None:
    """Sigmoid(a + Clip(b)): the sum tells of a, and what goes into the Clip of b."""
    net = Net()
    x = net.input((3, 4, 4))
    a = net.add("Conv", [x, net.weight((2, 3, 1, 1))], (2, 4, 4))
    b = net.add("Conv", [x, net.weight((2, 3, 1, 1))], (2, 4, 4))
    total = net.add("Add", [a, net.add("Clip", [b])])
    net.outputs.append(net.add("Sigmoid", [total]))
    (found,) = endings(net.model()).values()
    assert set(found.tensors) == {total.name, b.name}


def test_a_saturated_input_of_the_model_is_none_of_its_doing() -> None:
    net = Net()
    x = net.input((3, 4, 4))
    net.outputs.append(net.add("Sigmoid", [x]))
    assert endings(net.model()) == {}
