"""Every bad model: its exit code, a message that names the place, and nothing left behind."""

from __future__ import annotations

import bad_attributes
import bad_graphs
import bad_operators
import bad_tensors
import pytest
from bad_cases import CASES, Bad
from file_cases import refused

FAMILIES = (bad_graphs, bad_tensors, bad_attributes, bad_operators)  # importing fills CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_model_is_refused_by_place_and_remedy(case: Bad, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(case.build().SerializeToString())

    error = refused(path)

    assert error.exit_code == case.exit_code, str(error)
    for fragment in ("model.onnx", *case.fragments):
        assert fragment in str(error)
    assert error.remedy
