"""The table of known faults, held to the OpenCV that is installed.

When an OpenCV mends a fault, a test here fails: shorten the row's engines, or take it out. In an
environment with 4.14 these tests hold its column, in one with 5.0 those of its two engines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from faulty_case import FLOAT_ERROR, INT8_ERROR, Make, normal
from faulty_nets import CASES, NOT_FOUND, UNTESTED

from modelcheck.errors import ContainedFailure, ModelcheckError
from modelcheck.model import Model
from modelcheck.model.patterns import MEASURED, PATTERNS, Pattern, Severity, column_of
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.reference import Reference
from modelcheck.targets import Engine, Target, TargetSession
from modelcheck.transforms import rewrite

ROWS = {pattern.id: pattern for pattern in PATTERNS}
CELLS = [(row, engine) for row in CASES for engine in ROWS[row].engines]
_LIMITS = ChildLimits(request_s=60)


class Lab:
    """onnxruntime and the engines of one OpenCV, each in a child that is started once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reference = Reference(limits=_LIMITS)
        self._sessions: dict[str, TargetSession] = {}
        with TargetSession(Target(), name="the lab", limits=_LIMITS) as session:
            self.opencv = session.opencv()
        # Before 5.0 there is nothing to choose from.
        engines = [e for e in self.opencv.engines if e != Engine.AUTO] or [Engine.AUTO]
        self.columns = {column_of(self.opencv.version, e): Engine(e) for e in engines}

    def error(self, model: Model, x: np.ndarray, column: str) -> float:
        """The largest difference to onnxruntime as a part of the scale; infinite where no number
        stands for it. Raises what the engine raises.
        """
        path = self._workspace.path / "net.onnx"
        write_private(model, path)
        self._reference.load(path)
        (expected,) = self._reference.run({"x": x}).items()
        self._reference.unload()
        try:
            session = self._session(column)
            session.load(path, [expected[0]])
            actual = session.forward({"x": x})[expected[0]]
        except ContainedFailure:
            self._sessions.pop(column).close()
            raise
        if actual.shape != expected[1].shape or not np.all(np.abs(actual) < 1e30):
            return np.inf
        return float(np.abs(actual - expected[1]).max() / np.abs(expected[1]).max())

    def close(self) -> None:
        self._reference.close()
        for session in self._sessions.values():
            session.close()

    def _session(self, column: str) -> TargetSession:
        if column not in self._sessions:
            target = Target(engine=self.columns[column], threads=1)
            self._sessions[column] = TargetSession(target, name="the lab", limits=_LIMITS)
        return self._sessions[column]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Workspace() as workspace:
        lab = Lab(workspace)
        yield lab
        lab.close()


@cache
def built(make: Make) -> Model:
    return make()


def inputs(row: str, model: Model) -> np.ndarray:
    return (CASES[row].x or normal)(model)


def rules(pattern: Pattern) -> list[str]:
    """What `rewrite` is to be asked for, by the remedy."""
    return re.findall(r"rules=([\w-]+)", pattern.remedy)


def needs(lab: Lab, column: str) -> None:
    if column not in lab.columns:
        pytest.skip(f"OpenCV {lab.opencv.version} is not {column}")


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_the_engine_still_has_the_fault(lab: Lab, row: str, column: str) -> None:
    needs(lab, column)
    pattern, case = ROWS[row], CASES[row]
    model = built(case.shows)
    mended = (
        f"the table says that '{row}' {_said(pattern)} on {column}, and on OpenCV "
        f"{lab.opencv.version} it is right now: shorten the row"
    )
    if pattern.severity is Severity.FAILS:
        try:
            lab.error(model, inputs(row, model), column)
        except ModelcheckError:
            return
        pytest.fail(mended)
    assert lab.error(model, inputs(row, model), column) >= case.least, mended


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_the_form_that_the_remedy_names_is_right(lab: Lab, row: str, column: str) -> None:
    needs(lab, column)
    right = CASES[row].right
    if right is None:
        assert "Use" in ROWS[row].remedy or ROWS[row].when or rules(ROWS[row])
        return
    model = built(right)
    assert lab.error(model, inputs(row, model), column) <= _tolerance(model)


@pytest.mark.parametrize(("row", "column"), [c for c in CELLS if rules(ROWS[c[0]])])
def test_the_rule_that_the_remedy_names_mends_it(lab: Lab, row: str, column: str) -> None:
    needs(lab, column)
    original = built(CASES[row].shows)
    model = rewrite(rules=rules(ROWS[row]))(original)
    assert model is not original
    assert lab.error(model, inputs(row, model), column) <= _tolerance(model)


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_what_only_looks_like_it_is_right(lab: Lab, row: str, column: str) -> None:
    needs(lab, column)
    model = built(CASES[row].like)
    assert lab.error(model, inputs(row, model), column) <= _tolerance(model)


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_is_said_elsewhere_does_not_come_about(lab: Lab, name: str) -> None:
    """Where this fails, it does after all: give the table a row."""
    make, columns = NOT_FOUND[name]
    model = built(make)
    for column in set(columns) & set(lab.columns):
        assert lab.error(model, normal(model), column) <= _tolerance(model)


def test_every_row_has_a_case_or_a_reason() -> None:
    assert set(ROWS) == set(CASES) | set(UNTESTED)


def test_the_table_was_measured_on_this_opencv(lab: Lab) -> None:
    """Where this fails, a new OpenCV is here: when all else passes, name it in MEASURED."""
    measured = {MEASURED[column] for column in lab.columns}
    assert measured == {lab.opencv.version}


def _said(pattern: Pattern) -> str:
    return "is wrong" if pattern.severity is Severity.WRONG else "fails"


def _tolerance(model: Model) -> float:
    int8 = any(node.op_type == "QuantizeLinear" for node in model.graph)
    return INT8_ERROR if int8 else FLOAT_ERROR
