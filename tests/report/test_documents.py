"""The report as JSON: plain values, versioned, complete, and never a NaN literal."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_reports import NASTY, renamed

from modelcheck.judge import Blame, Check, Outcome
from modelcheck.report import SCHEMA, Report, to_text
from modelcheck.report.document import plain


def strict(text: str) -> dict:
    """JSON as the standard has it: Python's own reader would take NaN and Infinity."""

    def refuse(literal: str) -> None:
        raise AssertionError(f"{literal} is no JSON")

    return json.loads(text, parse_constant=refuse)


class TestJson:
    def test_it_is_versioned_and_says_what_decides_a_release(self, report: Report) -> None:
        document = strict(to_text(report))
        assert document["schema"] == SCHEMA == "modelcheck.report/1"
        assert document["outcome"] == "PASS"
        assert document["exit_code"] == 0
        assert "equivalence" in document["judged"]
        assert document["original"]["digest"] == report.verification.plan.original.digest
        assert report.verification.plan.candidate is not None
        assert document["candidate"]["digest"] == report.verification.plan.candidate.digest

    def test_it_holds_what_another_needs_to_repeat_and_to_trust_it(self, report: Report) -> None:
        document = strict(to_text(report))
        assert document["command"] == "modelcheck apply"
        assert document["data"]["judged"] == 20
        assert len(document["data"]["digest"]) == 64
        assert document["steps"][0]["name"] == "fold-batchnorm"
        assert document["steps"][0]["change"]["nodes_removed"] == {"BatchNormalization": 8}
        assert set(document["versions"]) >= {"onnx", "onnxruntime", "numpy"}
        assert document["machine"]["cores"] >= 1
        target = document["targets"][0]
        assert target["ran_on"]["candidate"]["proof"]
        assert target["opencv"]["version"]
        assert target["equivalence"]["total"]["outputs"][0]["name"] == "logits"
        assert target["checks"][0]["kind"] == "equivalence"

    def test_nothing_in_it_is_the_repr_of_a_python_object(self, report: Report) -> None:
        text = to_text(report)
        assert not any(
            mark in text for mark in ("array(", "object at 0x", "dtype=", "mappingproxy")
        )

    def test_names_that_others_made_up_come_back_unchanged(self, report: Report) -> None:
        check = Check("equivalence", NASTY, Outcome.FAIL, NASTY, Blame.TRANSFORM)
        text = to_text(renamed(report, name=NASTY, checks=(check,)))
        assert text.isascii()
        assert "\x1b" not in text
        document = strict(text)
        assert document["original"]["name"] == NASTY
        assert document["targets"][0]["checks"][0]["message"] == NASTY
        assert document["warnings"] == [NASTY]

    def test_two_texts_of_one_report_are_equal(self, report: Report) -> None:
        one, other = (json.loads(to_text(report)) for _ in range(2))
        for document in (one, other):
            document["machine"].pop("load")
        assert one == other


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Box:
    inside: object


floats = st.floats() | st.floats(width=32).map(np.float32) | st.floats(width=16).map(np.float16)
leaves = (
    st.none() | st.booleans() | st.integers() | floats | st.text(max_size=5)
    | st.sampled_from([Color.RED, Outcome.PASS, Path("/home/me/net.onnx"), np.int64(3),
                       np.bool_(True), b"bytes", np.dtype("f4"), np.zeros((2, 0)),
                       np.array([1.0, math.nan, math.inf])])
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | inner.map(Box)
    ),
    max_leaves=10,
)


class TestPlain:
    @given(values)
    def test_whatever_evidence_holds_becomes_strict_json(self, value: object) -> None:
        strict(json.dumps(plain(value), allow_nan=False))

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (math.nan, None),
            (math.inf, "inf"),
            (-math.inf, "-inf"),
            (np.float32("nan"), None),
            (np.float64(0.5), 0.5),
            (np.array([1, 2], np.int8), [1, 2]),
            (np.array(math.inf), "inf"),
            (True, True),
            (Color.RED, "red"),
            (Path("/home/me/net.onnx"), "net.onnx"),  # no folder of the machine it ran on
            ({Outcome.PASS: (1, 2)}, {"PASS": [1, 2]}),
            (frozenset({"b", "a"}), ["a", "b"]),
            (Box({"x": Box(None)}), {"inside": {"x": {"inside": None}}}),
        ],
    )
    def test_examples(self, value: object, expected: object) -> None:
        assert plain(value) == expected
        assert type(plain(value)) is type(expected)
