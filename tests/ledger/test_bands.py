"""The ledger knows between what latencies an original usually lies on a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorded_runs import RUN, run, verdict

from modelcheck.bench.machine import fingerprint
from modelcheck.ledger import LedgerFile
from modelcheck.ledger.book import Book
from modelcheck.model import Model, load

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "digits_mlp.onnx"


@pytest.fixture(scope="module")
def original() -> Model:
    return load(FIXTURE)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(LedgerFile(tmp_path / "ledger.db"))


def record(book: Book, original: Model, *latencies: float, here: bool = True) -> None:
    assert book.file is not None
    machine = dict(fingerprint()) if here else RUN.machine
    for seconds in latencies:
        made = run(verdict(original_s=seconds), original_digest=original.digest)
        book.file.append(replace(made, machine=machine))


def test_five_runs_make_a_band_that_holds_them_all_with_a_tenth_to_spare(
    book: Book, original: Model
) -> None:
    record(book, original, 0.010, 0.012, 0.020, 0.011, 0.010)
    low, high = book.bands(original)["cpu new"]
    assert (low, high) == (pytest.approx(0.010 / 1.1), pytest.approx(0.020 * 1.1))


def test_fewer_runs_do_not_know_what_is_usual(book: Book, original: Model) -> None:
    record(book, original, 0.010, 0.010, 0.010, 0.010)
    assert book.bands(original) == {}


def test_other_machines_and_other_models_tell_nothing(book: Book, original: Model) -> None:
    record(book, original, *[0.010] * 5, here=False)
    assert book.bands(original) == {}
    record(book, original, *[0.010] * 5)
    assert list(book.bands(original)) == ["cpu new"]
    assert book.bands(load(FIXTURE.with_name("digits_vit.onnx"))) == {}


def test_without_a_ledger_there_is_no_band(original: Model) -> None:
    assert Book(None).bands(original) == {}
