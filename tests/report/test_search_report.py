"""What a search shows: the table, the verdict, the picture. Regenerate with `--force-regen`."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture
from rich.console import Console

from modelcheck.data import open_samples, split_in_three
from modelcheck.judge import Blame, Check, Outcome, SpeedEvidence
from modelcheck.judge.fitness import Fitness, Surroundings
from modelcheck.model import load
from modelcheck.recipe import TargetSettings, apply_steps
from modelcheck.report.pareto import pareto_svg
from modelcheck.report.search import print_search, print_search_verdict, search_json
from modelcheck.searching import Contender, Judged, Searched, SearchPlan
from modelcheck.searching.stopwatch import Gain
from modelcheck.targets import Engine, OpenCV, Target
from modelcheck.transforms import build
from modelcheck.verification import Plan, Verification
from modelcheck.verification.plan import TargetResult

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "modelcheck search net.onnx --data images -o fast.onnx --seed 0"


def speed(ratio: float) -> SpeedEvidence:
    return SpeedEvidence(
        ratio=ratio, low=0.97 * ratio, high=1.02 * ratio, original_latency_s=0.021,
        candidate_latency_s=0.021 / ratio, original_p90_s=0.022, candidate_p90_s=0.022 / ratio,
        original_drift=0.0, blocks=24, workers=4, cpu_wall_ratio=1.0, required=1.0, noisy=False,
        fitness=Fitness(1.0, 1.05, 0.0, Surroundings()), note=None,
    )  # fmt: skip


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Searched:
    monkeypatch.chdir(ROOT)  # lines break by the length of paths, so these do not name the clone
    model = load(Path("fixtures/digits_resnet.onnx"))
    samples = open_samples(Path("fixtures/digits_test.npz"), model.signature, count=60)
    target = Target.parse("cpu:threads=1")
    plan = SearchPlan(model, split_in_three(samples, None, calibrate=True), TargetSettings(target))
    fold = build("fold-batchnorm", {})
    rewrite = build("rewrite", {"rules": ["conv-as-matmul"], "only": ["stem.conv"]})
    quantize = build("quantize", {"form": "qoperator"})

    def on(engine: Engine) -> Target:
        return replace(target, engine=engine)

    exact = Contender("exact rewrites", on(Engine.CLASSIC), (fold, rewrite), Gain(1.31, 0.01),
                      0.0161, 152_000, 121.0, 1.0, holds=True)  # fmt: skip
    small = Contender("int8 k×k, 2 layers in float", on(Engine.CLASSIC), (fold, quantize),
                      Gain(1.42, 0.01), 0.0148, 48_000, 26.1, 0.99, holds=True)  # fmt: skip
    wrong = Contender("int8", on(Engine.NEW), (fold, quantize), Gain(0.0, 0.0), float("nan"),
                      44_000, 9.2, 0.81, holds=False)  # fmt: skip
    failed = Check("equivalence", small.target.name, Outcome.FAIL,
                   "cpu classic, 1 thread: agreement 97.0 % < 99 %.", Blame.TRANSFORM)  # fmt: skip
    passed = Check("equivalence", exact.target.name, Outcome.PASS, "it agrees", Blame.NONE)

    def judged(contender: Contender, check: Check, ratio: float) -> Judged:
        settings = TargetSettings(contender.target)
        made = apply_steps(model, (fold,))
        asked = Plan(model, made.model, plan.samples.verdict, (settings,))
        found = TargetResult(settings, (check,), speed=speed(ratio))
        return Judged(contender, made, Verification(asked, (found,)))

    rejected, best = judged(small, failed, 1.40), judged(exact, passed, 1.29)
    return Searched(
        plan=plan,
        original={Engine.NEW: 0.0211, Engine.CLASSIC: 0.0274},
        baseline=on(Engine.NEW),
        contenders=(exact, small, wrong),
        judged=(rejected, best),
        best=best,
        outcome=Outcome.PASS,
        opencv=OpenCV("5.0.0", ("auto", "new", "classic"), "2.4.6", "3.11.7", 2, 2, "b"),
        notes=("new: the time for rewrites was over; a larger --max-time tries more",),
        seconds=123.0,
    )


def screen(searched: Searched, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, emoji=False)
    print_search(searched, console)
    print_search_verdict(searched, console, COMMAND, "fast.onnx was written.")
    return "\n".join(line.rstrip() for line in stream.getvalue().split("\n"))


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen(searched: Searched, width: int, file_regression: FileRegressionFixture) -> None:
    file_regression.check(screen(searched, width))


def test_nothing_found(searched: Searched) -> None:
    text = screen(replace(searched, best=None, judged=searched.judged[:1]))
    assert "Nothing is provably faster than the original on cpu new, 1 thread: keep it." in text
    assert "agreement 97.0 % < 99 %" in text
    assert "its recipe" not in text


def test_the_picture(searched: Searched, file_regression: FileRegressionFixture) -> None:
    svg = pareto_svg(searched)
    ET.fromstring(svg)
    file_regression.check(svg, extension=".svg")


def test_the_picture_of_nothing_shows_the_original(searched: Searched) -> None:
    svg = pareto_svg(replace(searched, contenders=(), judged=(), best=None))
    assert "original, new" in svg
    ET.fromstring(svg)


def test_json_holds_no_nan_and_what_makes_the_best_again(searched: Searched) -> None:
    document = json.loads(json.dumps(search_json(searched), allow_nan=False))
    assert document["best"]["steps"][0] == "fold-batchnorm"
    assert [j["outcome"] for j in document["judged"]] == ["FAIL", "PASS"]
    assert document["contenders"][2]["latency_s"] is None
