"""Valid models, however unusual, load; and what is saved is the model that was loaded."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from accepted_models import CASES, initializers_that_are_also_inputs, typed_fields
from onnx import numpy_helper
from small_models import convnet, tensor, weight

from modelcheck.model import Model, load, save

_LONG = {"ten_thousand_nodes"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if n in _LONG else ()) for n in CASES]
)
def test_valid_model_loads_and_what_is_saved_is_that_model(name, tmp_path):
    proto = CASES[name]()
    path, inline, outside = (tmp_path / f"{n}.onnx" for n in ("model", "inline", "outside"))
    path.write_bytes(proto.SerializeToString())

    model = load(path)
    save(model, inline)
    save(model, outside, external_data=True)

    assert load(inline).digest == load(outside).digest == model.digest
    # onnx's own reader finds the same weights in all three.
    expected = _weights(onnx.load(path))
    for saved in (inline, outside):
        found = _weights(onnx.load(saved))
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            assert found[key].dtype == array.dtype
            np.testing.assert_array_equal(found[key], array)


def _weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def test_raw_typed_and_external_weights_have_one_digest():
    assert Model.from_proto(typed_fields()) == Model.from_proto(convnet())


def test_a_model_with_other_weights_has_another_digest():
    other = convnet()
    tensor(other, "gb").CopyFrom(weight("gb", 5, seed=1))
    assert Model.from_proto(other) != Model.from_proto(convnet())


def test_nan_is_accepted_where_the_verdict_is_the_point(tmp_path):
    proto = convnet()
    array = numpy_helper.to_array(tensor(proto, "gw")).copy()
    array[0, 0] = np.nan
    tensor(proto, "gw").CopyFrom(numpy_helper.from_array(array, "gw"))
    path = tmp_path / "candidate.onnx"
    path.write_bytes(proto.SerializeToString())

    model = load(path, allow_non_finite=True)

    assert np.isnan(model.weights["gw"][0, 0])


def test_a_weight_added_to_a_model_of_an_early_ir_version_needs_no_input(tmp_path):
    """Up to IR version 3 every initializer must be an input too; a transform need not know."""
    edited = Model.from_proto(initializers_that_are_also_inputs()).edit()
    added = ir.Value(name="added", const_value=ir.Tensor(np.ones(5, np.float32), name="added"))
    edited.graph.register_initializer(added)

    save(Model.freeze(edited), tmp_path / "model.onnx")

    assert onnx.load(tmp_path / "model.onnx").ir_version == 4
    assert Model.from_proto(initializers_that_are_also_inputs()).skeleton.ir_version == 3
