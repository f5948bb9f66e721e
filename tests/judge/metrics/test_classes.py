"""Top-k agreement, flips, divergence and drop, on outputs made by hand."""

import math

import numpy as np
import pytest
from metric_cases import scored

from modelcheck.errors import UsageError
from modelcheck.judge.metrics import MetricSpec

RNG = np.random.default_rng(3)
LOGITS = [RNG.normal(size=(1, 10)).astype(np.float32) for _ in range(30)]
TOP1, TOP5 = MetricSpec("top1", 0.9), MetricSpec("top5", 0.9)
FLIPS, KL, DROP = MetricSpec("flips", 0.1), MetricSpec("kl", 0.1), MetricSpec("drop", 0.1)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("spec", [TOP1, TOP5])
def test_a_model_agrees_with_itself(spec):
    assert scored(spec, LOGITS, LOGITS).values.tolist() == [1.0] * 30


def test_top1_counts_the_same_arg_max_and_flips_the_others_by_class():
    other = [x[:, ::-1].copy() for x in LOGITS]
    agree = scored(TOP1, LOGITS, other)
    same = [float(x.argmax() == y.argmax()) for x, y in zip(LOGITS, other, strict=True)]
    assert agree.values.tolist() == same
    flips = scored(FLIPS, LOGITS, other)
    assert flips.values.tolist() == [1 - s for s in same]
    assert flips.groups == tuple(int(x.argmax()) for x in LOGITS)


def test_top5_looks_for_the_top_class_among_the_five_highest():
    expected = np.zeros((1, 10), np.float32)
    expected[0, 7] = 1
    for rank in range(10):
        actual = -np.arange(10, dtype=np.float32)[None]
        actual[0, [rank, 7]] = actual[0, [7, rank]]
        assert scored(TOP5, [expected], [actual]).values[0] == float(rank < 5)


def test_a_net_whose_scores_are_all_equal_does_not_agree_on_a_later_class():
    expected = np.eye(10, dtype=np.float32)[7:8]
    assert scored(TOP5, [expected], [np.zeros((1, 10), np.float32)]).values[0] == 0


def test_class_indices_are_compared_as_they_are():
    wanted, given = [np.array([3]), np.array([[1]])], [np.array([3]), np.array([[2]])]
    assert scored(TOP1, wanted, given).values.tolist() == [1, 0]


@pytest.mark.parametrize("form", ["logits", "softmax", "log-softmax"])
def test_divergence_is_the_same_from_logits_and_from_probabilities(form):
    make = {
        "logits": lambda x: x,
        "softmax": softmax,
        "log-softmax": lambda x: np.log(softmax(x)),
    }[form]
    p, q = softmax(LOGITS[0].astype(np.float64)), softmax(LOGITS[1].astype(np.float64))
    wanted = float((p * np.log(p / q)).sum())
    found = scored(KL, [make(LOGITS[0])], [make(LOGITS[1])]).values[0]
    assert found == pytest.approx(wanted, rel=1e-4)
    assert scored(KL, [make(LOGITS[0])], [make(LOGITS[0])]).values[0] == pytest.approx(0, abs=1e-9)


def test_a_probability_of_0_is_no_division_by_zero():
    found = scored(KL, [np.array([[0.5, 0.5]])], [np.array([[1.0, 0.0]])]).values[0]
    assert 10 < found < 100


@pytest.mark.parametrize("top", [1, 3])
def test_the_drop_is_the_difference_of_the_two_accuracies(top):
    spec = MetricSpec("drop", 0.1, options=(("top", top),))
    other = [np.roll(x, 1, axis=1) for x in LOGITS]
    labels = [int(x.argmax()) if i % 3 else 0 for i, x in enumerate(LOGITS)]

    def accuracy(outputs):
        highest = [set(np.argsort(-x[0])[:top].tolist()) for x in outputs]
        return np.mean([label in best for label, best in zip(labels, highest, strict=True)])

    found = scored(spec, LOGITS, other, labels).values.mean()
    assert found == pytest.approx(accuracy(LOGITS) - accuracy(other))


def test_a_drop_without_a_label_says_how_to_give_one():
    with pytest.raises(UsageError, match="wants labels") as caught:
        scored(DROP, LOGITS[:1], LOGITS[:1])
    assert "labels.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "worst"), [(TOP1, 0), (TOP5, 0), (FLIPS, 1), (KL, math.inf), (DROP, 1)]
)
@pytest.mark.parametrize("ruin", ["nan", "opencv nan", "shape"])
def test_what_is_not_finite_or_misshapen_is_the_worst_there_is(spec, worst, ruin):
    bad = LOGITS[0].copy()
    bad[0, 2] = {"nan": np.nan, "opencv nan": 3.4e38, "shape": 0}[ruin]
    given = bad[:, :9] if ruin == "shape" else bad
    found = scored(spec, LOGITS[:1], [given], labels=[int(LOGITS[0].argmax())])
    assert found.values.tolist() == [worst]


@pytest.mark.parametrize("spec", [TOP1, TOP5, FLIPS, KL])
def test_a_reference_that_is_not_finite_is_nobodys_score(spec):
    bad = LOGITS[0].copy()
    bad[0, 2] = np.nan
    found = scored(spec, [bad, LOGITS[1]], [bad, LOGITS[1]])
    assert (len(found.values), found.unusable, found.samples) == (1, 1, (1,))


@pytest.mark.parametrize(
    ("spec", "shape"),
    [(TOP1, (1, 10, 4, 4)), (TOP5, (1, 4)), (KL, (2, 10)), (FLIPS, (1, 1)), (DROP, (10,))],
)
def test_a_metric_that_does_not_fit_the_shape_says_what_it_wants(spec, shape):
    output = np.ones(shape, np.float32)
    with pytest.raises(UsageError, match="does not fit") as caught:
        scored(spec, [output], [output], labels=[0])
    assert str(shape) in str(caught.value)
