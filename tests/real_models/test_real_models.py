"""The long stage: every transform on every model of ../shared/models, on both CPU engines."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from real_models import ENGINES, STEPS, objections, run_model
from zoo import ZooModel, available, zoo

pytestmark = pytest.mark.real_models
_ABSENT = "the trained models of ../shared/models are absent"


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.mark.skipif(not available(), reason=_ABSENT)
@pytest.mark.parametrize("model", zoo(), ids=lambda model: model.name)
def test_every_verdict_on_a_real_model_is_explained(
    model: ZooModel, made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELCHECK_CACHE", str(tmp_path))  # the original runs once, for all steps
    rows = list(run_model(model, made_data))
    assert {(row.step, row.engine) for row in rows} == set(product(STEPS, ENGINES))
    assert not objections(model, rows)


@pytest.mark.skipif(available(), reason="the models are there, and were tested")
def test_the_real_models_are_present() -> None:
    pytest.skip(_ABSENT)
