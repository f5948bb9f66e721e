"""Generated models are valid, run, and are as varied as they are meant to be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from modelcheck.model import Model
from modelcheck.testing.models import OPSETS, inputs, models, sample
from modelcheck.testing.net import Storage
from modelcheck.testing.runner import Runner

EXAMPLES = 60
OPERATORS = {
    "Conv", "ConvTranspose", "BatchNormalization", "Relu", "MaxPool", "AveragePool", "Add",
    "GlobalAveragePool", "Concat", "Gemm", "MatMul", "Flatten", "Reshape", "Constant", "Cast", "If",
}  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(model=models(), data=st.data())
def test_generated_models_pass_the_checker_and_run(
    runner: Runner, model: Model, data: st.DataObject
) -> None:
    runner.check(model)
    (outputs,) = runner.outputs(model, data.draw(inputs(model.signature)))
    for spec in model.signature.outputs:
        array = outputs[spec.name]
        assert array.dtype == spec.dtype
        assert np.isfinite(array).all()
        assert len(array.shape) == len(spec.shape or ())
        declared = zip(spec.shape or (), array.shape, strict=True)
        assert all(d in (None, n) for d, n in declared)


@pytest.mark.long
def test_generated_models_are_varied() -> None:
    operators: Counter[str] = Counter()
    opsets, ranks, counts, batches = set(), set(), set(), set()

    # Derandomized, so that this cannot fail by bad luck.
    @settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
    @given(models())
    def collect(model: Model) -> None:
        operators.update({n.op_type for n in model.graph})
        opsets.add(model.opset)
        ranks.add(len(model.signature.inputs[0].shape or ()))
        counts.add((len(model.signature.inputs), len(model.signature.outputs)))
        batches.add((model.signature.inputs[0].shape or (0,))[0])

    collect()
    assert set(operators) >= OPERATORS
    assert opsets == set(OPSETS)
    assert ranks == {3, 4, 5}
    assert counts == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert batches == {None, 1, 2}


def test_a_failing_model_shrinks_to_little_more_than_its_cause() -> None:
    smallest = find(
        models(),
        lambda m: any(n.op_type == "ConvTranspose" for n in m.graph),
        settings=settings(max_examples=2000, suppress_health_check=list(HealthCheck)),
    )
    # A Constant or a Cast may stand beside it.
    assert len([n for n in smallest.graph if n.op_type not in ("Constant", "Cast")]) <= 2
    assert smallest.parameters <= 16


def test_weights_are_stored_in_every_way_a_file_allows() -> None:
    from modelcheck.testing.net import Net

    for storage in Storage:
        net = Net(storage=storage, batch=None, seed=1)
        x = net.input((3, 4, 4))
        net.outputs.append(net.add("Conv", [x, net.weight((2, 3, 1, 1))], (2, 4, 4)))
        proto = net.proto()
        (tensor,) = [
            *proto.graph.initializer,
            *(n.attribute[0].t for n in proto.graph.node if n.op_type == "Constant"),
        ]
        typed, half = bool(tensor.float_data), tensor.data_type == 10
        listed = len(proto.graph.input) == 2
        constant = proto.graph.node[0].op_type == "Constant"
        if storage is not Storage.MIXED:
            assert [typed, constant, half, listed] == [
                storage is s for s in (Storage.TYPED, Storage.CONSTANT, Storage.HALF, Storage.INPUT)
            ]


@given(model=models(), data=st.data())
def test_inputs_fit_the_signature(model: Model, data: st.DataObject) -> None:
    drawn = data.draw(inputs(model.signature))
    for spec in model.signature.inputs:
        assert drawn[spec.name].dtype == spec.dtype
        assert np.isfinite(drawn[spec.name]).all()
        pairs = zip(spec.shape or (), drawn[spec.name].shape, strict=True)
        assert all(d in (None, n) for d, n in pairs)


def test_a_sample_is_decided_by_its_seed() -> None:
    from modelcheck.testing.net import Net

    net = Net()
    net.outputs.append(net.input((3, 4, 4)))
    signature = net.model().signature
    (a,), (b,), (c,) = (sample(signature, seed).values() for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
