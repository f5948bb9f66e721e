"""What is recommended and what the verdict is, from recorded gains."""

from __future__ import annotations

import pytest

from modelcheck.judge import Outcome
from modelcheck.judge.serving import Figure, Gain
from modelcheck.targets import Target
from modelcheck.tune.decision import race_keys, recommend, verdict
from modelcheck.tune.plan import Proven
from modelcheck.tune.settings import ServingLimits, Setting

NONE = ServingLimits()
ASKED = ServingLimits(max_latency_s=0.02, min_samples_per_s=100)
FIGURE = Figure(0.01, 0.009, 0.011)
SAME = Gain(1.0, 1.0, 1.0, None)


def proven(
    words: str,
    latency: float = 1.0,
    throughput: float = 1.0,
    *,
    sure: bool = True,
    right: bool = True,
    meets: Outcome = Outcome.PASS,
) -> Proven:
    def gain(ratio: float) -> Gain:
        decided = ("pass" if ratio > 1 else "fail") if sure else None
        return Gain(ratio, ratio * 0.9, ratio * 1.1, decided)  # type: ignore[arg-type]

    return Proven(
        Setting(Target.parse(words)), FIGURE, Figure(100, 90, 110), gain(latency), gain(throughput),
        meets, right, "" if right else "output 'y' is wrong.",
    )  # fmt: skip


DEFAULT = Proven(Setting(Target()), FIGURE, Figure(100, 90, 110), SAME, SAME)


def test_each_measure_has_its_best_setting() -> None:
    fast, many = proven("cpu:classic", 1.4, 1.4), proven("cpu:threads=1", 0.5, 2.0)
    assert recommend(DEFAULT, [fast, many], NONE) == {"latency": fast, "throughput": many}


def test_what_is_not_provably_better_is_not_recommended() -> None:
    perhaps = proven("cpu:classic", 1.4, 1.4, sure=False)
    slower = proven("cpu:threads=1", 0.9, 0.9)
    assert recommend(DEFAULT, [perhaps, slower], NONE) == {
        "latency": DEFAULT,
        "throughput": DEFAULT,
    }


def test_what_is_wrong_is_never_recommended() -> None:
    wrong = proven("cpu:classic", 9.0, 9.0, right=False)
    assert recommend(DEFAULT, [wrong], NONE)["throughput"] == DEFAULT


def test_a_default_that_is_wrong_gives_way_to_what_is_right_and_slower() -> None:
    default = Proven(Setting(Target()), FIGURE, FIGURE, SAME, SAME, right=False, why="wrong.")
    slower = proven("cpu:classic", 0.5, 0.5)
    assert recommend(default, [slower], NONE) == {"latency": slower, "throughput": slower}
    assert verdict(default, [slower], NONE)[0] is Outcome.PASS


def test_with_nothing_right_nothing_is_recommended_and_the_run_fails() -> None:
    default = Proven(Setting(Target()), FIGURE, FIGURE, SAME, SAME, right=False, why="wrong.")
    wrong = proven("cpu:classic", 2.0, 2.0, right=False)
    assert recommend(default, [wrong], NONE) == {}
    outcome, message = verdict(default, [wrong], NONE)
    assert outcome is Outcome.FAIL
    assert "no setting gives the model's outputs" in message


P, F, I = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE  # noqa: E741


@pytest.mark.parametrize(
    ("default", "rivals", "outcome"),
    [
        (P, [], P), (F, [P], P), (I, [F, P], P),
        (F, [], F), (F, [F, F], F),
        (I, [], I), (F, [I], I), (I, [F], I),
    ],
)  # fmt: skip
def test_one_setting_that_meets_all_limits_passes_and_all_must_fail_to_fail(
    default: Outcome, rivals: list[Outcome], outcome: Outcome
) -> None:
    first = Proven(Setting(Target()), FIGURE, FIGURE, SAME, SAME, meets=default)
    others = [proven(f"cpu:threads={i + 1}", 2.0, 2.0, meets=m) for i, m in enumerate(rivals)]
    found, message = verdict(first, others, ASKED)
    assert found is outcome
    assert "latency <= 20.0 ms and throughput >= 100/s" in message


def test_what_breaks_a_limit_is_not_recommended() -> None:
    pool = proven("cpu:threads=1", 0.3, 3.0, meets=Outcome.FAIL)
    assert recommend(DEFAULT, [pool], ASKED)["throughput"] == DEFAULT
    breaking = Proven(Setting(Target()), FIGURE, FIGURE, SAME, SAME, meets=Outcome.FAIL)
    assert recommend(breaking, [pool], ASKED) == {}


def test_a_setting_that_is_best_by_both_measures_runs_once() -> None:
    default, one = Setting(Target()), Setting(Target.parse("cpu:classic"))
    assert race_keys({"latency": one, "throughput": one}, default) == {"latency": one}
    assert race_keys({"latency": default, "throughput": one}, default) == {"throughput": one}
    assert race_keys({"latency": default, "throughput": None}, default) == {}
