"""What tuning shows: the table, the verdict, the picture. Regenerate with `--force-regen`."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture
from rich.console import Console

from modelcheck.data import open_samples
from modelcheck.judge import Outcome
from modelcheck.judge.serving import Figure, Gain
from modelcheck.model import load
from modelcheck.recipe import TargetSettings
from modelcheck.report.tradeoff import tradeoff_svg
from modelcheck.report.tune import print_tuning, print_tuning_verdict, tuning_json
from modelcheck.targets import NetOptions, OpenCV, Target
from modelcheck.tune import Proven, Setting, Standing, Tried, TunePlan, Tuning
from modelcheck.tune.settings import ServingLimits

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SAME = Gain(1.0, 1.0, 1.0, None)


def proven(
    setting: Setting, milliseconds: float, rate: float, gains: tuple[float, float]
) -> Proven:
    figures = [Figure(v, 0.95 * v, 1.06 * v) for v in (milliseconds / 1e3, rate)]
    latency, throughput = (Gain(g, 0.96 * g, 1.03 * g, "pass" if g > 1 else "fail") for g in gains)
    return Proven(setting, figures[0], figures[1], latency, throughput)


@pytest.fixture
def tuning() -> Tuning:
    model = load(FIXTURES / "digits_resnet.onnx")
    samples = open_samples(None, model.signature, count=16)
    target = Target()
    default = replace(proven(Setting(target), 21.4, 46.7, (1.0, 1.0)),
                      latency_gain=SAME, throughput_gain=SAME)  # fmt: skip
    quick = proven(Setting(Target.parse("cpu:classic")), 18.2, 54.9, (1.18, 1.18))
    pool = Setting(Target.parse("cpu:classic:threads=1"), nets=2, batch=4)
    many = proven(pool, 112.0, 71.4, (0.19, 1.53))
    switched = replace(Setting(target), options=NetOptions(fusion=False))
    tried = (
        Tried(default.setting, Standing.RIGHT, "", 1.0, 1.0),
        Tried(quick.setting, Standing.RIGHT, "", 1.2, 1.2),
        Tried(pool, Standing.RIGHT, "", 0.2, 1.5),
        Tried(replace(pool, nets=4), Standing.RIGHT, "", 0.1, 1.45),
        Tried(replace(pool, batch=8), Standing.WRONG, "output 'logits' is wrong"),
        Tried(switched, Standing.CANNOT, "this engine cannot do that"),
    )
    return Tuning(
        TunePlan(model, samples, (TargetSettings(target),)), default, (quick, many),
        {"latency": quick, "throughput": many}, tried, Outcome.PASS, "", 24, 4,
        {target: OpenCV("5.0.0", ("auto", "new", "classic"), "2.0", "3.11", 2, 2, "")},
        ("one sample a request: the model fixes its batch",), 61.0,
    )  # fmt: skip


def shown(tuning: Tuning, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    print_tuning(tuning, console)
    print_tuning_verdict(tuning, console, "modelcheck tune m.onnx --seed 0", "r.toml was written.")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    text = re.sub(r"modelcheck \d+\.\d+\.\d+", "modelcheck <version>", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_the_screen(tuning: Tuning, file_regression: FileRegressionFixture) -> None:
    file_regression.check(shown(tuning), basename="tune")


def test_the_screen_where_the_default_stays(
    tuning: Tuning, file_regression: FileRegressionFixture
) -> None:
    unknown = Figure(0.02, 0.0, math.inf)
    default = replace(tuning.default, latency=unknown)
    kept = replace(tuning, default=default, best={"latency": default, "throughput": default})
    file_regression.check(shown(kept), basename="tune-default")


def test_the_screen_of_a_gate(tuning: Tuning, file_regression: FileRegressionFixture) -> None:
    plan = replace(tuning.plan, limits=ServingLimits(0.01, 60))
    default, *rivals = (replace(p, meets=Outcome.FAIL) for p in tuning.proven)
    failed = replace(
        tuning,
        plan=plan,
        default=default,
        rivals=tuple(rivals),
        outcome=Outcome.FAIL,
        best={},
        message="no setting has it",
    )
    file_regression.check(shown(failed), basename="tune-failed")


@pytest.mark.parametrize("width", [40, 80])
def test_figures_survive_a_narrow_screen(tuning: Tuning, width: int) -> None:
    assert "exit 0" in shown(tuning, width)


def test_json_is_plain(tuning: Tuning) -> None:
    document = tuning_json(tuning)
    assert document["best"]["throughput"]["nets"] == 2
    assert document["tried"][4]["standing"] == "wrong"
    assert document["tried"][4]["latency_gain"] is None


def test_the_picture(tuning: Tuning, file_regression: FileRegressionFixture) -> None:
    file_regression.check(tradeoff_svg(tuning), basename="tune", extension=".svg")


def test_a_picture_of_one_dot_is_well_formed(tuning: Tuning) -> None:
    unknown = Figure(0.02, 0.0, math.inf)
    default = replace(tuning.default, latency=unknown, throughput=Figure(50.0, 0.0, math.inf))

    alone = replace(tuning, default=default, best={"latency": default}, tried=())
    assert ET.fromstring(tradeoff_svg(alone)).tag.endswith("svg")
