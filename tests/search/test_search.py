"""The whole search on real engines: what it returns has passed the gate, or it returns nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelcheck.data import open_samples, split_in_three
from modelcheck.errors import ContainedFailure, NotEnoughEvidence, UsageError
from modelcheck.judge import Limits, Outcome
from modelcheck.judge.budgets import parse_budget
from modelcheck.judge.limits import EquivalenceLimit, Term
from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.recipe import TargetSettings, parse_step
from modelcheck.recipe.writing import step_text
from modelcheck.searching import (
    Contender,
    Goal,
    Judged,
    Searched,
    SearchPlan,
    choosing,
    integers,
    search,
    search_events,
)
from modelcheck.searching import run as search_run
from modelcheck.searching.choosing import Choosing
from modelcheck.searching.climbing import Climb
from modelcheck.searching.stopwatch import Gain, NotRun, Stopwatch, Times
from modelcheck.targets import Engine, Target
from modelcheck.transforms import Claim, Context, Transform, build, chain

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TARGET = Target.parse("cpu:threads=1")


def planned(name: str, *, claim: Claim = Claim.EXACT, limits: Limits | None = None) -> SearchPlan:
    model = load(FIXTURES / f"{name}.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=90)
    three = split_in_three(samples, None, calibrate=claim is Claim.LOSSY)
    settings = TargetSettings(TARGET, limits or Limits())
    return SearchPlan(model, three, settings, claim=claim, time_budget_s=40.0)


def result_of(plan: SearchPlan) -> Searched:
    *_, last = search_events(plan)
    assert isinstance(last, Searched)
    return last


def only(monkeypatch: pytest.MonkeyPatch, *steps: Transform) -> None:
    """Let the search find these steps, as ten times as fast, and nothing else."""

    def explore(self: Choosing) -> object:
        self.contenders.append(
            Contender("planted", replace(TARGET, engine=Engine.NEW), steps, Gain(10.0, 0.0), 1e-6,
                      1, 99.0, 1.0, holds=True)
        )  # fmt: skip
        yield from ()

    monkeypatch.setattr(Choosing, "explore", explore)
    monkeypatch.setattr(Choosing, "race", lambda self: None)


@pytest.mark.long
def test_the_smallest_is_what_has_the_fewest_bytes_and_is_hardly_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def race(self: Choosing) -> None:
        gains = {"weights in int8": 0.97, "int8": 0.5}  # the smallest of all is far too slow
        self.contenders[:] = [
            replace(c, gain=Gain(gains.get(c.name, 1.0), 0.0), holds=True) for c in self.contenders
        ]

    monkeypatch.setattr(Choosing, "race", race)
    asked: list[str] = []

    def judge(self: object, finalist: Contender, judged: object) -> Iterator[object]:
        asked.append(finalist.name)
        judged.append(Judged(finalist, None, cast(Any, Failed)))  # type: ignore[attr-defined]
        yield from ()

    class Failed:
        outcome = Outcome.FAIL

    monkeypatch.setattr(search_run._Run, "_judge", judge)  # which of them meet the gate, in order
    plan = replace(planned("digits_depthwise", claim=Claim.LOSSY), goal=Goal.SMALLEST)
    found = result_of(replace(plan, time_budget_s=20.0))
    sizes = {c.name: c.model_bytes for c in found.contenders}
    assert "int8" not in asked
    assert sizes[asked[0]] < plan.model.nbytes
    assert [sizes[name] for name in asked] == sorted(sizes[name] for name in asked)


@pytest.mark.long
def test_what_is_found_is_made_again_by_its_recipe_and_has_passed_the_gate() -> None:
    plan = planned("digits_depthwise")
    found = result_of(plan)
    assert set(found.original) == {Engine.NEW, Engine.CLASSIC}
    assert {c.target.engine for c in found.contenders} == {Engine.NEW, Engine.CLASSIC}
    assert all(c.claim is Claim.EXACT for c in found.contenders)
    for judged in found.judged:
        texts = [step_text(step) for step in judged.contender.steps]
        again = chain(*map(parse_step, texts))(plan.model, Context(seed=plan.seed))
        assert again == judged.made.model
    if found.best is not None:
        assert found.best.verification.outcome is Outcome.PASS
        assert {c.kind for c in found.best.verification.checks} >= {"equivalence", "speed"}
    assert found.outcome is Outcome.PASS  # nothing was asked that could be missed


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("prune-weights:amount=0.9", "equivalence"),  # wrong
        ("identity", "speed"),  # right, and no faster
    ],
)
def test_what_the_gate_rejects_is_never_returned(
    monkeypatch: pytest.MonkeyPatch, text: str, kind: str
) -> None:
    only(monkeypatch, parse_step(text))
    limits = Limits(min_speedup=1.5)
    found = result_of(planned("digits_resnet", claim=Claim.LOSSY, limits=limits))
    assert found.best is None
    assert found.outcome is not Outcome.PASS
    (judged,) = found.judged
    assert kind in {c.kind for c in judged.verification.checks if c.outcome is not Outcome.PASS}


def test_nothing_faster_is_no_failure_where_nothing_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, parse_step("sparsify:amount=0.9"))
    found = result_of(planned("digits_resnet", claim=Claim.LOSSY))
    assert (found.best, found.outcome) == (None, Outcome.PASS)


@pytest.mark.long
def test_three_finalists_at_most_meet_the_gate_and_share_its_error_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    real = search_run.verify

    def counting(plan: object) -> object:
        seen.append(plan.speed_checks)  # type: ignore[attr-defined]
        return real(plan)  # type: ignore[arg-type]

    only(monkeypatch, parse_step("prune-weights:amount=0.9"))
    explore = Choosing.explore

    def many(self: Choosing) -> object:
        yield from explore(self)
        self.contenders *= 5

    monkeypatch.setattr(Choosing, "explore", many)
    monkeypatch.setattr(search_run, "verify", counting)
    found = result_of(planned("digits_mlp", claim=Claim.LOSSY))
    assert len(found.judged) == 3
    assert seen == [3, 3, 3]


def test_ctrl_c_ends_the_choosing_and_what_was_found_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, build("fold-batchnorm", {}))
    explore: Callable[[Choosing], object] = Choosing.explore

    def interrupted(self: Choosing) -> object:
        yield from explore(self)  # type: ignore[misc]
        raise KeyboardInterrupt

    monkeypatch.setattr(Choosing, "explore", interrupted)
    found = result_of(planned("digits_resnet"))
    assert any("interrupted" in note for note in found.notes)
    assert len(found.judged) == 1


@pytest.mark.long
def test_int8_is_looked_for_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow it is here: every set is raced, and one that misses the limits spares layers."""
    monkeypatch.setattr(Climb, "run", lambda self: iter(()))  # which would leave none where it is
    monkeypatch.setattr(integers, "_WORTH_INT8", 0.0)
    monkeypatch.setattr(integers, "_HOPELESS", 0.0)
    strict = Limits(equivalence=EquivalenceLimit(((Term("min-sqnr", 45.0),),)))
    found = result_of(planned("digits_resnet", claim=Claim.LOSSY, limits=strict))
    lossy = [c for c in found.contenders if c.claim is Claim.LOSSY]
    assert {c.target.engine for c in lossy} == {Engine.NEW, Engine.CLASSIC}
    assert any("in float" in c.name and c.holds and c.db >= 45.0 for c in lossy)


@pytest.mark.parametrize(
    ("target", "known", "tried"),
    [
        ("cpu", ("auto", "new", "classic"), ["new", "classic"]),
        ("cpu:classic", ("auto", "new", "classic"), ["classic"]),
        ("opencl", ("auto", "new", "classic"), ["classic"]),
        ("cpu", ("auto",), ["auto"]),  # before 5.0
        ("cuda", ("auto",), ["auto"]),
    ],
)
def test_the_engines_to_try_are_those_that_run_there(
    target: str, known: tuple[str, ...], tried: list[str]
) -> None:
    assert [str(e) for e in choosing._engines(Target.parse(target), known)] == tried


def test_the_best_is_the_nearest_to_the_original_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = parse_budget("max-p50", "5ms")
    plan = replace(planned("digits_mlp", limits=Limits(budgets=(budget,))), goal=Goal.BEST)
    choices = [("slow", 9e-3, 120.0), ("near", 4e-3, 60.0), ("fast", 1e-3, 30.0)]

    def explore(self: Choosing) -> object:
        steps = (build("fold-batchnorm", {}),)
        self.original = dict.fromkeys(self.original, 10e-3)
        self.contenders += [
            Contender(name, TARGET, steps, Gain(2.0, 0.0), latency, 1, db, None, holds=True)
            for name, latency, db in choices
        ]
        yield from ()

    monkeypatch.setattr(Choosing, "explore", explore)
    monkeypatch.setattr(Choosing, "race", lambda self: None)
    asked: list[str] = []

    def judge(self: object, finalist: Contender, judged: object) -> Iterator[object]:
        asked.append(finalist.name)
        raise ContainedFailure("enough")
        yield

    monkeypatch.setattr(search_run._Run, "_judge", judge)
    with pytest.raises(ContainedFailure, match="enough"):
        result_of(plan)
    assert asked == ["near"]


def test_a_search_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    model = load(FIXTURES / "digits_mlp.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=90)
    first, second = search(model, samples, ["cpu:threads=1", TARGET], max_time_s=60.0)
    assert first.best is None
    assert first.plan.time_budget_s == 30.0
    assert second.plan.settings.target == TARGET
    with pytest.raises(UsageError, match="no target"):
        search(model, samples, [])


def test_timings_that_are_too_noisy_to_choose_by_are_said_and_nothing_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Stopwatch._race
    noise = np.exp(np.random.default_rng(0).uniform(-5, 5, 100_000)).tolist()

    def shaken(self: Stopwatch, *asked: Any) -> dict[str, Times | NotRun]:
        return {
            name: Times(tuple(s * noise.pop() for s in one.seconds))
            if isinstance(one, Times) else one
            for name, one in real(self, *asked).items()
        }  # fmt: skip

    monkeypatch.setattr(Stopwatch, "_race", shaken)
    with pytest.raises(NotEnoughEvidence, match="too noisy to choose by"):
        result_of(planned("digits_mlp"))


def counting_its_padding() -> Model:
    """A net that OpenCV 5's classic engine computes wrongly, but for `pad-before-pool`."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["c"], name="conv", pads=[1] * 4),
            helper.make_node("AveragePool", ["c"], ["y"], name="pool", kernel_shape=[3, 3],
                             pads=[1] * 4, count_include_pad=1),
        ],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    return Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


def test_an_engine_with_a_known_fault_is_tried_with_the_fault_mended() -> None:
    model = counting_its_padding()
    samples = open_samples(None, model.signature, count=12)
    plan = SearchPlan(
        model, split_in_three(samples, None, calibrate=False), TargetSettings(TARGET),
        claim=Claim.EXACT, time_budget_s=8.0,
    )  # fmt: skip
    with Workspace() as workspace, ExitStack() as stack:
        found = Choosing(plan, workspace, stack)
        found.expect()
        if Engine.CLASSIC not in found.engines:
            pytest.skip("this OpenCV has one engine")
        found.time_original()
        assert list(found.original) == [Engine.NEW]
        assert found.mended == [Engine.CLASSIC]
        for _ in found.explore():
            pass
        (classic,) = [c for c in found.contenders if c.target.engine is Engine.CLASSIC]
        assert classic.holds
        assert classic.steps[0].name == "rewrite"
        assert "with known faults mended" in found.notes[0]
