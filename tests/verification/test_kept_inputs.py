"""Kept inputs: of every candidate of an original, as data, and nothing damaged is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import open_samples
from modelcheck.model import Model, load
from modelcheck.verification.kept_inputs import Kept, KeptInputs

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
ORIGINAL = load(FIXTURES / "digits_mlp.onnx")
CANDIDATE, OTHER = load(FIXTURES / "digits_vit.onnx"), load(FIXTURES / "digits_resnet.onnx")
NAME = ORIGINAL.signature.inputs[0].name
SHAPE = next(iter(open_samples(None, ORIGINAL.signature, count=1))).arrays[NAME].shape


def inputs(*values: float) -> list[Kept]:
    return [Kept({NAME: np.full(SHAPE, v, np.float32)}, f"all {v}") for v in values]


def values(kept: KeptInputs) -> list[float]:
    return [float(one.arrays[NAME].reshape(-1)[0]) for one in kept.inputs]


def opened(folder: Path | None, candidate: Model | None = CANDIDATE) -> KeptInputs:
    return KeptInputs(folder, ORIGINAL, candidate)


def test_what_is_kept_comes_back_newest_first(tmp_path: Path) -> None:
    kept = opened(tmp_path / "new" / "folder")
    kept.keep(inputs(1, 2))
    kept.keep(inputs(3, 2))
    assert values(kept) == values(opened(tmp_path / "new" / "folder")) == [3, 2, 1]


def test_other_candidates_get_them_too_and_other_originals_do_not(tmp_path: Path) -> None:
    opened(tmp_path).keep(inputs(1))
    other = opened(tmp_path, OTHER)
    assert values(other) == [1]
    other.keep(inputs(2))
    assert values(opened(tmp_path)) == [1, 2]  # its own first
    assert not KeptInputs(tmp_path, OTHER, CANDIDATE).inputs


def test_a_file_never_grows_beyond_sixteen_inputs(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    for i in range(30):
        path = kept.keep(inputs(i))
    assert path is not None
    assert len(open_samples(path, ORIGINAL.signature)) == len(opened(tmp_path).inputs) == 16


def test_a_kept_file_is_data(tmp_path: Path) -> None:
    path = opened(tmp_path).keep(inputs(1, 2))
    assert path is not None
    samples = open_samples(path, ORIGINAL.signature)
    assert [float(s.arrays[NAME].max()) for s in samples] == [1, 2]
    assert not samples.notes


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"<html>"])
def test_a_damaged_file_is_named_and_kept_aside(tmp_path: Path, content: bytes) -> None:
    file = opened(tmp_path).keep(inputs(1))
    assert file is not None
    for number in (1, 2):
        file.write_bytes(content)
        again = opened(tmp_path)
        assert again.inputs == []
        assert file.name in again.notes[0]
        assert file.with_name(f"{file.name}.unreadable{number}").read_bytes() == content
        again.keep(inputs(2))
    assert values(opened(tmp_path)) == [2]


def test_a_file_of_another_model_is_kept_aside(tmp_path: Path) -> None:
    file = opened(tmp_path).keep(inputs(1))
    assert file is not None
    np.savez(file, stranger=np.zeros((2, 3)))
    assert "stranger" in opened(tmp_path).notes[0]
    assert not file.exists()


def test_a_file_that_cannot_be_set_aside_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path).keep(inputs(1))
    assert file is not None
    file.write_bytes(b"damaged")

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "rename", refused)
    kept = opened(tmp_path)
    assert kept.keep(inputs(2)) is None
    assert file.read_bytes() == b"damaged"
    assert "left where it is" in kept.notes[0]


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "worst"
    folder.write_text("a file where the folder should be")
    kept = opened(folder)
    assert kept.keep(inputs(1)) is None
    assert "could not be saved" in kept.notes[0]


def test_without_a_folder_nothing_is_kept() -> None:
    kept = opened(None)
    assert kept.keep(inputs(1)) is None
    assert kept.inputs == []
