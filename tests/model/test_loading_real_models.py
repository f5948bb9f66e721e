"""Real models load, and keep their digest through every form of saving."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.model import load, save

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / ".." / "shared" / "models").glob("*.onnx"))
FIXTURES = sorted((ROOT / "fixtures").glob("*.onnx"))


@pytest.mark.real_models
@pytest.mark.skipif(not MODELS, reason="../shared/models is absent: no real models to load")
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_real_model_keeps_its_digest_inline_and_as_external_data(path, tmp_path):
    _check_round_trip(path, tmp_path)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_fixture_keeps_its_digest_inline_and_as_external_data(path, tmp_path):
    _check_round_trip(path, tmp_path)


def _check_round_trip(path: Path, folder: Path) -> None:
    model = load(path)
    for external in (False, True):
        saved = folder / f"{external}.onnx"
        save(model, saved, external_data=external)
        assert load(saved).digest == model.digest
