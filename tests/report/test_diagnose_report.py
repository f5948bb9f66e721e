"""What a diagnosis shows: long tables cut to what matters, pictures that are well-formed."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from modelcheck.data import open_samples
from modelcheck.diagnose import Diagnosis, DiagnosisPlan, LayerEvidence, Origin
from modelcheck.diagnose.evidence import Part
from modelcheck.diagnose.matching import Matching
from modelcheck.judge import Outcome
from modelcheck.judge.comparison import OutputComparison
from modelcheck.model import load
from modelcheck.report.diagnose import diagnosis_json, print_diagnosis, shown
from modelcheck.report.layers_plot import layers_svg
from modelcheck.targets import OpenCV, Target

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def layer(index: int, error: float, **more: object) -> LayerEvidence:
    comparison = OutputComparison(f"y{index}")
    comparison.update(np.ones((1, 9)), np.full((1, 9), 1 + error), 0)
    name = f"layer<{index}>\x1b[31m"
    part = Part(index, name, "Conv", (name,), f"y{index}", f"y{index}", ("x",), "Conv")
    own = comparison.result()
    return LayerEvidence(part, own, reached_db=own.sqnr_db - 3, **more)  # type: ignore[arg-type]


@pytest.fixture
def found() -> Diagnosis:
    layers = [layer(i, 1e-7) for i in range(200)]
    layers[60] = layer(60, 0.01, origin=Origin.TRANSFORM, effect=1e-4)
    layers[150] = layer(150, 0.5, origin=Origin.FORM, effect=0.2)
    layers[151] = replace(layers[151], own=None, reached_db=None, trouble="refused")
    cv2 = OpenCV("5.0.0", ("auto",), "2.0", "3.11", 2, 2, "0" * 8)
    return Diagnosis(
        target=Target(), opencv=cv2, original="a.onnx", candidate="b.onnx", samples=4,
        layers=tuple(layers), total=None, total_db=6.0, transform_db=30.0, target_db=math.inf,
        rounding_db=90.0, first=layers[60], worst=layers[150],
        matching=Matching((), (), True, 0, 0), outcome=Outcome.FAIL,
    )  # fmt: skip


@pytest.fixture
def plan() -> DiagnosisPlan:
    model = load(FIXTURES / "digits_mlp.onnx")
    return DiagnosisPlan(model, model, open_samples(None, model.signature, count=2), Target())


def text_of(found: Diagnosis, plan: DiagnosisPlan, *, every: bool) -> str:
    screen = Console(file=io.StringIO(), width=120)
    print_diagnosis(found, plan, screen, every=every)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_of_many_layers_the_named_ones_are_shown_with_their_neighbours(found: Diagnosis) -> None:
    indices = [y.part.index for y in shown(found)]
    assert indices == [58, 59, 60, 61, 62, 148, 149, 150, 151, 152]


def test_all_of_them_are_shown_on_request(found: Diagnosis, plan: DiagnosisPlan) -> None:
    assert "layer<7>" in text_of(found, plan, every=True)
    assert "layer<7>" not in text_of(found, plan, every=False)


def test_names_from_files_reach_neither_terminal_nor_markup(
    found: Diagnosis, plan: DiagnosisPlan
) -> None:
    assert "\x1b" not in text_of(found, plan, every=True)
    assert "\x1b" not in layers_svg(found)


def test_the_picture_has_a_dot_for_each_layer_that_ran(found: Diagnosis) -> None:
    picture = ET.fromstring(layers_svg(found))
    dots = [e for e in picture.iter() if e.tag.endswith("circle") and len(e)]
    assert len(dots) == 199
    words = " ".join(picture.itertext())
    assert "first: layer<60>" in words
    assert "worst: layer<150>" in words


def test_a_picture_of_nothing_is_a_picture(found: Diagnosis) -> None:
    ET.fromstring(layers_svg(replace(found, layers=(), first=None, worst=None)))
    ET.fromstring(layers_svg(replace(found, layers=found.layers[:1], first=None, worst=None)))


def test_json_knows_no_infinity(found: Diagnosis, plan: DiagnosisPlan) -> None:
    import json

    text = json.dumps(diagnosis_json(found, plan, "modelcheck diagnose"), allow_nan=False)
    assert json.loads(text)["worst"] == 150
