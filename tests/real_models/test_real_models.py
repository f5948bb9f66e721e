"""The long stage: every transform on every model of ../shared/models, on both CPU engines."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_models import IDENTITY, run_model
from zoo import ZooModel, available, zoo

pytestmark = pytest.mark.real_models
_ABSENT = "the trained models of ../shared/models are absent"


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.mark.skipif(not available(), reason=_ABSENT)
@pytest.mark.parametrize("model", zoo(), ids=lambda model: model.name)
def test_every_verdict_on_a_real_model_is_explained(model: ZooModel, made_data: Path) -> None:
    rows = list(run_model(model, made_data))
    identity = {row.engine: row for row in rows if row.step == IDENTITY}
    for engine, row in identity.items():
        if model.expected(engine) == "ok":
            assert row.outcome == "PASS", row
        else:
            assert (row.outcome, row.blame) == ("UNSUPPORTED", "target"), row
    for row in rows:
        assert row.message, row
        if row.outcome.startswith("error"):
            assert row.outcome in {"error 3", "error 4"}, row
        if identity[row.engine].outcome == "UNSUPPORTED":
            assert row.outcome == "UNSUPPORTED", row
            assert row.blame == "target", row
        if row.step == "fold-batchnorm" and identity[row.engine].outcome == "PASS":
            assert row.outcome == "PASS", row


@pytest.mark.skipif(available(), reason="the models are there, and were tested")
def test_the_real_models_are_present() -> None:
    pytest.skip(_ABSENT)
