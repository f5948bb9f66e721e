"""Tuning from plan to result: real nets, simulated times (see simulation.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from simulation import Speed, nothing_pays, pools_pay, simulated

from modelcheck.data import from_arrays, open_samples
from modelcheck.errors import NotEnoughEvidence, Unsupported, UsageError
from modelcheck.judge import Limits, Outcome, parse_limit
from modelcheck.model import Model, load
from modelcheck.recipe import TargetSettings
from modelcheck.targets import Engine, Target, TargetRefused
from modelcheck.targets.pool import PoolRun
from modelcheck.tune import ServingLimits, Setting, Standing, Tuned, TunePlan, Tuning, tune
from modelcheck.tune.workbench import Workbench

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
PLENTY_S = 1e6  # of time: nothing here depends on the machine

# Each starts a dozen processes; tests/cli/test_tune_command.py has the short ones.
pytestmark = pytest.mark.long


def plan_for(name: str = "digits_resnet", **changes: object) -> TunePlan:
    model = load(FIXTURES / f"{name}.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=16)
    plan = TunePlan(model, samples, (TargetSettings(Target()),), time_budget_s=PLENTY_S)
    return replace(plan, **changes)  # type: ignore[arg-type]


def tuned(monkeypatch: pytest.MonkeyPatch, plan: TunePlan, speed: Speed = pools_pay) -> Tuning:
    monkeypatch.setattr(Workbench, "measure", simulated(speed))
    *_, last = tune(plan)
    assert isinstance(last, Tuned)
    return last.result


def test_the_pool_that_does_most_is_found_and_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(monkeypatch, plan_for())
    assert found.outcome is Outcome.PASS
    best = found.best["throughput"]
    assert (best.setting.target.threads, best.setting.nets) == (1, 2)
    assert best.throughput_gain.proven
    assert best.throughput_gain.ratio == pytest.approx(1.6, rel=0.05)
    assert found.is_default(found.best["latency"]), "a pool answers no sooner"


def test_where_nothing_is_provably_better_the_default_is_recommended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = tuned(monkeypatch, plan_for(), nothing_pays)
    assert all(found.is_default(best) for best in found.best.values())
    assert len(found.best) == 2


def test_a_first_look_that_deceives_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last run decides: there the setting is no better than the default."""
    looks: list[Setting] = []

    def at_first(setting: Setting) -> float:
        looks.append(setting)
        return pools_pay(setting) if len(looks) < 120 else nothing_pays(setting)

    found = tuned(monkeypatch, plan_for(), at_first)
    assert len(looks) > 120
    assert found.rivals, "the first look chose something"
    assert found.is_default(found.best["throughput"])


def test_a_setting_that_is_wrong_is_listed_and_never_recommended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches of this model are made wrong, and would be the fastest by far."""
    real = Workbench.run

    def run(self: Workbench, setting: Setting, key: str, *, samples: int | None = None) -> PoolRun:
        made = real(self, setting, key, samples=samples)
        if setting.nets == 1:
            return made
        wrong = tuple({k: v[..., ::-1] for k, v in one.items()} for one in made.outputs)
        return replace(made, outputs=wrong)

    monkeypatch.setattr(Workbench, "run", run)
    found = tuned(monkeypatch, plan_for())
    wrong = [t for t in found.tried if t.standing is Standing.WRONG]
    assert wrong
    assert all(t.setting.nets > 1 for t in wrong)
    assert all("logits" in t.why for t in wrong)
    assert all(p.setting.nets == 1 for p in found.proven)


def test_what_only_all_samples_show_to_be_wrong_gives_way_to_the_next_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Workbench.run
    refuted: list[Setting] = []

    def run(self: Workbench, setting: Setting, key: str, *, samples: int | None = None) -> PoolRun:
        made = real(self, setting, key, samples=samples)
        if samples is not None or setting.nets != 2:
            return made
        refuted.append(setting)
        return replace(made, outputs=tuple({k: -v for k, v in o.items()} for o in made.outputs))

    monkeypatch.setattr(Workbench, "run", run)
    found = tuned(monkeypatch, plan_for())
    assert refuted
    assert found.best["throughput"].setting.nets not in {1, 2}
    standings = {t.setting: t.standing for t in found.tried}
    assert all(standings[s] is Standing.WRONG for s in refuted)


def test_pinned_axes_stay_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetSettings(Target.parse("cpu:classic:threads=1"))
    found = tuned(monkeypatch, plan_for(targets=(target,)))
    assert {t.setting.target for t in found.tried} == {target.target}


def test_a_model_that_fixes_its_batch_is_tuned_without_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = [1, 3, 8, 8]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 17)]
    model = Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    samples = open_samples(None, model.signature, count=2)
    plan = TunePlan(model, samples, (TargetSettings(Target()),), time_budget_s=PLENTY_S)
    found = tuned(monkeypatch, plan)
    assert {t.setting.batch for t in found.tried} == {1}
    assert any("the model fixes its batch" in note for note in found.notes)


def test_a_model_that_mixes_its_rows_is_tuned_without_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its batch is free, but a row depends on the others."""
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy"]
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 13)]
    model = Model.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    samples = from_arrays({"x": x}, model.signature)
    plan = TunePlan(model, samples, (TargetSettings(Target()),), time_budget_s=PLENTY_S)
    found = tuned(monkeypatch, plan)
    assert {t.setting.batch for t in found.tried} == {1}
    assert any("rows of a batch" in note for note in found.notes)


class TestDefault:
    def test_an_engine_that_cannot_run_the_model_is_stood_in_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Workbench.load

        def load_but(self: Workbench, setting: Setting, key: str) -> object:
            if setting.target.engine is not Engine.CLASSIC:
                raise TargetRefused("this engine knows no such layer", where="cpu auto")
            return real(self, setting, key)

        monkeypatch.setattr(Workbench, "load", load_but)
        found = tuned(monkeypatch, plan_for())
        assert found.default.setting.target.engine is Engine.CLASSIC
        assert any("stands in for the default" in note for note in found.notes)

    def test_a_model_that_no_engine_runs_is_unsupported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Workbench, setting: Setting, key: str) -> object:
            raise TargetRefused("no such layer", where="cpu auto")

        monkeypatch.setattr(Workbench, "load", refuse)
        with pytest.raises(Unsupported, match="no such layer"):
            tuned(monkeypatch, plan_for())

    def test_a_limit_that_the_samples_do_not_decide_is_not_enough_evidence(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = Limits(equivalence=parse_limit("min-agreement=0.999"))
        plan = plan_for(targets=(TargetSettings(Target(), limits),))
        with pytest.raises(NotEnoughEvidence):
            tuned(monkeypatch, plan)


class TestGate:
    @pytest.mark.parametrize(
        ("limits", "outcome"),
        [
            (ServingLimits(max_latency_s=0.002), Outcome.PASS),
            (ServingLimits(min_samples_per_s=1400), Outcome.PASS),
            (ServingLimits(max_latency_s=0.002, min_samples_per_s=1400), Outcome.PASS),
            (ServingLimits(max_latency_s=0.0001), Outcome.FAIL),
            (ServingLimits(max_latency_s=0.0011, min_samples_per_s=1400), Outcome.FAIL),
        ],
    )
    def test_one_setting_must_meet_every_limit(
        self, monkeypatch: pytest.MonkeyPatch, limits: ServingLimits, outcome: Outcome
    ) -> None:
        found = tuned(monkeypatch, plan_for(limits=limits))
        assert found.outcome is outcome, found.message
        if outcome is Outcome.FAIL:
            assert "no setting has" in found.message
        for best in found.best.values():
            assert best.meets is Outcome.PASS

    def test_a_limit_at_the_very_figure_is_left_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = tuned(
            monkeypatch, plan_for(limits=ServingLimits(max_latency_s=0.001)), nothing_pays
        )
        assert found.outcome is Outcome.INCONCLUSIVE
        assert found.rounds > 100, "it went on for as long as it may"

    def test_limits_that_contradict_each_other_are_refused_before_the_work(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = ServingLimits(max_latency_s=1e-6, min_samples_per_s=1e9)
        with pytest.raises(UsageError, match="contradict each other"):
            tuned(monkeypatch, plan_for(limits=limits))


class TestTargets:
    def test_an_optional_target_that_is_not_there_is_left_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = TargetSettings(Target.parse("cpu:python=/nonexistent/python:optional"))
        found = tuned(monkeypatch, plan_for(targets=(TargetSettings(Target()), other)))
        assert any("was left out" in note for note in found.notes)

    def test_a_required_target_that_is_not_there_is_unsupported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = TargetSettings(Target.parse("cpu:python=/nonexistent/python"))
        with pytest.raises(Unsupported):
            tuned(monkeypatch, plan_for(targets=(TargetSettings(Target()), other)))

    def test_a_device_on_which_nothing_runs_is_unsupported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No pool is measured on the CPU in a device's name."""
        targets = (TargetSettings(Target()), TargetSettings(Target.parse("cuda")))
        with pytest.raises(Unsupported):
            tuned(monkeypatch, plan_for(targets=targets))


def test_too_little_time_proves_nothing_and_says_how_much_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(NotEnoughEvidence, match="not enough to prove anything") as caught:
        tuned(monkeypatch, plan_for(time_budget_s=0.001))
    assert "or more" in str(caught.value)


def test_the_same_seed_times_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for _ in range(2):
        seen: list[str] = []
        make = simulated(pools_pay)

        def measure(self: Workbench, s: Setting, key: str, t: float, seen=seen, make=make):  # type: ignore[no-untyped-def]
            seen.append(s.name)
            return make(self, s, key, t)

        monkeypatch.setattr(Workbench, "measure", measure)
        list(tune(plan_for(seed=7)))
        orders.append(seen)
    assert orders[0] == orders[1]
