"""Errors: where, what, what to do, and the exit codes that users script against."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import errors
from modelcheck.errors import ModelcheckError, did_you_mean, printable
from modelcheck.process import Refused
from modelcheck.targets import TargetRefused

# As published; another number breaks somebody's CI.
EXIT_CODES = {
    "ModelcheckError": 70,
    "UsageError": 2,
    "InvalidInput": 3,
    "Unsupported": 4,
    "NotEnoughEvidence": 5,
    "ContainedFailure": 6,
    "Crashed": 6,
    "TimedOut": 6,
    "OutOfMemory": 6,
    "OutputNotWritten": 7,
}
texts = st.text(st.characters(), max_size=200)  # surrogates and control characters included


def test_every_error_has_the_exit_code_that_is_published() -> None:
    kinds = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, ModelcheckError)
    }
    assert kinds == EXIT_CODES
    assert (Refused.exit_code, TargetRefused.exit_code) == (4, 4)


@pytest.mark.parametrize(
    ("where", "remedy", "text"),
    [
        (None, None, "is empty"),
        ("net.onnx", None, "net.onnx: is empty"),
        (None, "Export it again.", "is empty\n  Export it again."),
        ("net.onnx", "Export it again.", "net.onnx: is empty\n  Export it again."),
    ],
)
def test_a_message_reads_where_what_and_what_to_do(
    where: str | None, remedy: str | None, text: str
) -> None:
    assert str(ModelcheckError("is empty", where=where, remedy=remedy)) == text


def test_an_error_is_located_from_the_inside_out() -> None:
    error = ModelcheckError("must be at most 1").at("amount=2").at("step 2").at("edge.toml")
    assert str(error) == "edge.toml, step 2, amount=2: must be at most 1"
    assert isinstance(errors.InvalidInput("x").at("y"), errors.InvalidInput)


def test_a_contained_failure_keeps_what_the_native_code_printed() -> None:
    assert errors.Crashed("died", where="cpu new", native_log="boom").native_log == "boom"
    assert "boom" not in str(errors.Crashed("died", where="cpu new", native_log="boom"))


class TestDidYouMean:
    @given(st.sampled_from(["prune-weights", "quantize", "min-sqnr", "classic"]), st.data())
    def test_one_slip_of_the_finger_finds_the_word(self, word: str, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(word) - 1))
        slips = [word[:at] + word[at + 1 :], word[:at] + "x" + word[at:]]
        known = ["prune-weights", "quantize", "min-sqnr", "classic"]
        for slip in slips:
            assert did_you_mean(slip, known) == f"Did you mean '{word}'?"

    def test_what_is_near_none_gets_no_guess(self) -> None:
        assert did_you_mean("zzzz", ["quantize", "fp16"]) is None
        assert did_you_mean("", ["quantize"]) is None
        assert did_you_mean("x", []) is None


class TestPrintable:
    @given(texts | st.binary(max_size=200), st.integers(2, 100))
    def test_any_name_becomes_one_short_line_that_moves_no_cursor(
        self, name: str | bytes, limit: int
    ) -> None:
        text = printable(name, limit)
        assert text.isprintable()
        assert len(text) <= limit
        text.encode("utf-8")  # a lone surrogate could not be written

    @given(texts)
    def test_what_is_printable_and_short_stays_as_it_is(self, name: str) -> None:
        once = printable(name, 1000)
        assert printable(once, 2000) == once
        if name.isprintable():
            assert once == name

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("\x1b[2J", "\\x1b[2J"),
            ("a\nb\tc\0", "a\\nb\\tc\\x00"),
            ("\u202egnp.exe", "\\u202egnp.exe"),
            ("ü\U0001f600", "ü\U0001f600"),
            (b"caf\xe9", "caf\\xe9"),
            ("", ""),
        ],
    )
    def test_examples(self, name: str | bytes, shown: str) -> None:
        assert printable(name) == shown

    def test_a_name_of_a_megabyte_is_cut_with_a_mark(self) -> None:
        assert printable("x" * (1 << 20)) == "x" * 79 + "…"
        assert printable("x" * 80) == "x" * 80
        assert printable("x" * 81) == "x" * 79 + "…"
