"""A metric passes only where its bound proves the limit, and says what would decide."""

import numpy as np
import pytest
from metric_cases import case, scores

from modelcheck.errors import UsageError
from modelcheck.judge import Blame, Limits, Outcome
from modelcheck.judge.metrics import (
    MetricSpec,
    checked_together,
    figure_of,
    interval,
    judge_metric,
    of_function,
    overlaid_metrics,
)

BOXES = MetricSpec("boxes", 0.9, options=(("boxes", "b"), ("scores", "s")))
TOP1, CTC, DROP = MetricSpec("top1", 0.99), MetricSpec("ctc", 0.1), MetricSpec("drop", 0.02)
PSNR, KL, FLIPS = MetricSpec("psnr", 35.0), MetricSpec("kl", 0.1), MetricSpec("flips", 0.1)
GOOD = {
    BOXES: np.ones(400),
    TOP1: np.ones(400),
    CTC: np.zeros(400),
    DROP: np.zeros(400),
    PSNR: np.full(400, 60.0),
    KL: np.full(400, 1e-3),
}
BAD = {
    BOXES: np.full(400, 0.5),
    TOP1: np.arange(400) % 2.0,
    CTC: np.full(400, 0.5),
    DROP: np.arange(400) % 2.0,
    PSNR: np.full(400, 20.0),
    KL: np.full(400, 3.0),
}


@pytest.mark.parametrize("spec", GOOD, ids=lambda s: s.kind)
def test_good_scores_pass_bad_ones_fail_and_few_decide_nothing(spec):
    passed = judge_metric(case(spec, GOOD[spec], GOOD[spec]))
    assert (passed.outcome, passed.blame) == (Outcome.PASS, Blame.NONE)
    assert passed.kind == f"metric {spec.kind}"
    failed = judge_metric(case(spec, BAD[spec], GOOD[spec]))
    assert (failed.outcome, failed.blame) == (Outcome.FAIL, Blame.TRANSFORM)
    few = judge_metric(case(spec, GOOD[spec][:5], GOOD[spec][:5]))
    assert (few.outcome, few.blame) == (Outcome.INCONCLUSIVE, Blame.DATA)
    assert "Give " in few.message
    assert few.evidence.samples_needed > 5


@pytest.mark.parametrize("spec", GOOD, ids=lambda s: s.kind)
def test_as_many_good_samples_as_the_message_names_pass(spec):
    few = judge_metric(case(spec, GOOD[spec][:5], GOOD[spec][:5]))
    enough = np.resize(GOOD[spec], few.evidence.samples_needed)
    assert judge_metric(case(spec, enough, enough)).outcome is Outcome.PASS
    assert judge_metric(case(spec, enough[1:], enough[1:])).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("spec", GOOD, ids=lambda s: s.kind)
def test_the_original_is_blamed_where_it_is_wrong_there_too(spec):
    check = judge_metric(case(spec, BAD[spec], BAD[spec]))
    assert (check.outcome, check.blame) == (Outcome.FAIL, Blame.TARGET)
    assert "original itself is wrong" in check.message
    repaired = judge_metric(case(spec, GOOD[spec], BAD[spec]))
    assert repaired.outcome is Outcome.PASS
    assert "repairs the target" in repaired.message


@pytest.mark.parametrize("spec", GOOD, ids=lambda s: s.kind)
def test_a_model_that_ignores_its_input_must_not_pass(spec):
    """Where one answer for every input is as good, these samples tell nothing."""
    check = judge_metric(case(spec, GOOD[spec], GOOD[spec], scores(GOOD[spec])))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "one answer for every input" in check.message
    assert judge_metric(case(spec, GOOD[spec], GOOD[spec], scores(BAD[spec]))).outcome == "PASS"


def test_synthetic_inputs_and_a_broken_reference_are_no_evidence():
    for doubtful in (
        case(BOXES, GOOD[BOXES], synthetic=True),
        case(BOXES, scores(GOOD[BOXES], unusable=3)),
    ):
        assert judge_metric(doubtful).outcome is Outcome.INCONCLUSIVE
    assert judge_metric(case(BOXES, BAD[BOXES], synthetic=True)).outcome is Outcome.FAIL


def test_samples_that_say_nothing_are_no_evidence():
    check = judge_metric(case(BOXES, scores([], silent=500)))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "neither side finds anything in 500 samples" in check.message


def test_every_class_must_be_proven_and_the_worst_is_named():
    groups = np.arange(400) % 4
    good = judge_metric(case(FLIPS, scores(np.zeros(400), groups)))
    assert good.outcome is Outcome.PASS
    values = ((groups == 2) & (np.arange(400) % 8 == 2)).astype(float)  # half of class 2
    bad = judge_metric(case(FLIPS, scores(values, groups)))
    assert bad.outcome is Outcome.FAIL
    assert "50 of 100 flips in class 2" in bad.message
    rare = np.append(groups, 9)
    assert judge_metric(case(FLIPS, scores(np.zeros(401), rare))).outcome is Outcome.INCONCLUSIVE


def test_top1_tells_which_classes_flip():
    groups = np.arange(800) % 4
    values = np.where((groups == 3) & (np.arange(800) < 8), 0.0, 1.0)
    check = judge_metric(case(TOP1, scores(values, groups)))
    assert "Most flips in class 3 (2 of 200)" in check.message


@pytest.mark.parametrize("spec", GOOD, ids=lambda s: s.kind)
def test_the_strictest_limit_that_would_pass_passes_and_a_stricter_one_does_not(spec):
    rng = np.random.default_rng(0)
    values = np.where(rng.random(400) < 0.02, BAD[spec], GOOD[spec] + 0.0)
    if spec in (PSNR, KL):
        values = values + np.abs(rng.normal(size=400))
    provable = figure_of(spec, scores(values)).provable
    assert provable is not None
    asked = MetricSpec(spec.kind, provable, options=spec.options)
    assert judge_metric(case(asked, values, values)).outcome is Outcome.PASS
    stricter = provable * (0.97 if spec.lower_is_better else 1.03)
    if stricter < 1 or spec in (PSNR, KL):
        asked = MetricSpec(spec.kind, stricter, options=spec.options)
        assert judge_metric(case(asked, values, values)).outcome is not Outcome.PASS


def test_a_share_asks_how_many_samples_meet_the_limit_each_by_itself():
    spec = MetricSpec("cosine", 0.9, share=0.95)
    values = np.where(np.arange(400) < 8, 0.0, 0.91)
    check = judge_metric(case(spec, values))
    assert check.outcome is Outcome.PASS  # 98 %, although the mean is below 0.9
    assert values.mean() < 0.9
    assert "of the samples >= 95 %" in check.message


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"kind": "top1", "limit": 1.0}, "no number of samples"),
        ({"kind": "top1", "limit": 95.0}, "between 0 and 1"),
        ({"kind": "drop", "limit": 0.0}, "between 0 and 1"),
        ({"kind": "psnr", "limit": -3.0}, "positive"),
        ({"kind": "psnr", "limit": 30.0, "share": 1.0}, "between 0 and 1"),
        ({"kind": "top1", "limit": 0.9, "share": 0.9}, "counts samples already"),
        ({"kind": "top1", "limit": 0.9, "confidence": 95.0}, "between 0 and 1"),
        ({"kind": "top1", "limit": float("nan")}, "between 0 and 1"),
    ],
)
def test_limits_that_decide_nothing_are_refused(values, match):
    with pytest.raises(UsageError, match=match):
        MetricSpec(**values)


def test_the_same_metric_twice_is_refused_and_two_need_two_names():
    with pytest.raises(UsageError, match=r"given twice, with min = 0\.99 and min = 0\.9"):
        checked_together([TOP1, MetricSpec("top1", 0.9)])
    other = MetricSpec("top1", 0.9, options=(("output", "second"),))
    with pytest.raises(UsageError, match="called 'top1'") as caught:
        checked_together([TOP1, other])
    assert "name" in str(caught.value)
    named = MetricSpec("top1", 0.9, name="second", options=other.options)
    assert checked_together([TOP1, named]) == (TOP1, named)


def test_a_later_metric_takes_the_place_of_the_one_of_its_name():
    milder = MetricSpec("top1", 0.9)
    assert overlaid_metrics((TOP1, CTC), (milder,)) == (milder, CTC)
    assert overlaid_metrics((TOP1,), ()) == (TOP1,)


def test_limits_with_metrics_are_values():
    def same(expected, actual):
        return 1.0

    specs = (TOP1, of_function(same, 0.9))
    assert Limits(metrics=specs) == Limits(metrics=specs)
    assert len({Limits(metrics=specs), Limits(metrics=specs), Limits()}) == 2
    assert "top-1 agreement >= 99 %" in Limits(metrics=specs).describe()


def test_a_limit_that_says_nothing_is_not_recommended():
    """PSNR of equal images is infinite, and an improvement is no drop: neither is a limit."""
    equal = np.full(400, np.inf)
    assert "strictest" not in judge_metric(case(PSNR, equal, equal)).message
    better = -(np.arange(400) % 2.0)
    check = judge_metric(case(DROP, better, GOOD[DROP]))
    assert check.outcome is Outcome.PASS
    assert "strictest" not in check.message


def test_the_printed_interval_never_claims_more_than_the_bounds():
    figure = figure_of(BOXES, scores(np.linspace(0.9, 1, 57)))
    low, high = interval(BOXES, figure).split("[")[1].rstrip("]").split(", ")
    assert float(low) <= figure.lower
    assert float(high) >= figure.upper
