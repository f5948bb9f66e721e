"""Embeddings keep their angle and their neighbours; text keeps its letters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_cases import scored

from modelcheck.errors import UsageError
from modelcheck.judge.metrics import MetricSpec
from modelcheck.judge.metrics.text import Ctc, edit_distance

RNG = np.random.default_rng(7)
POINTS = [RNG.normal(size=(1, 16)).astype(np.float32) for _ in range(21)]
COSINE, NEIGHBOURS = MetricSpec("cosine", 0.9), MetricSpec("neighbours", 0.9)
WORDS = st.lists(st.integers(0, 3), max_size=8)


def test_the_cosine_ignores_length_and_counts_as_0_below_0():
    x = np.array([[3.0, 4.0]])
    found = scored(COSINE, [x] * 3, [10 * x, np.array([[4.0, -3.0]]), -x])
    assert found.values.tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_every_other_sample_is_a_query_to_the_rest():
    found = scored(NEIGHBOURS, POINTS, POINTS)
    assert found.samples == tuple(range(1, 21, 2))
    assert found.values.tolist() == [1.0] * 10


def test_a_space_turned_as_a_whole_keeps_its_neighbours():
    turn, _ = np.linalg.qr(RNG.normal(size=(16, 16)))
    assert scored(NEIGHBOURS, POINTS, [x @ turn for x in POINTS]).values.all()


def test_another_space_has_other_neighbours():
    other = [RNG.normal(size=(1, 16)) for _ in POINTS]
    found = scored(NEIGHBOURS, POINTS, other).values
    expected = []
    unit = [np.concatenate(a) / np.linalg.norm(np.concatenate(a), axis=1, keepdims=True)
            for a in (POINTS, other)]  # fmt: skip
    for i in range(1, 21, 2):
        nearest = [int(np.argmax(u[0::2] @ u[i])) for u in unit]
        expected.append(float(nearest[0] == nearest[1]))
    assert found.tolist() == expected


def test_two_neighbours_that_are_as_near_are_both_right():
    a, b, query = np.eye(3)[0:1], np.eye(3)[1:2], np.ones((1, 3))
    assert scored(NEIGHBOURS, [a, query, b], [b, query, a]).values.tolist() == [1.0]


def test_an_embedding_that_is_not_finite_has_no_neighbour():
    bad = [np.full_like(x, np.nan) if i == 1 else x for i, x in enumerate(POINTS)]
    assert scored(NEIGHBOURS, POINTS, bad).values.tolist() == [0.0] + [1.0] * 9
    assert scored(COSINE, POINTS, bad).values[1] == 0
    assert scored(NEIGHBOURS, bad, POINTS).unusable == 1


@pytest.mark.parametrize("shape", [(2, 16), (1, 1), (1,)])
def test_what_is_no_embedding_does_not_fit(shape):
    for spec in (COSINE, NEIGHBOURS):
        with pytest.raises(UsageError, match="does not fit"):
            scored(spec, [np.ones(shape)], [np.ones(shape)])


def steps(classes, blank=0):
    return np.eye(5, dtype=np.float32)[list(classes)][None]


def test_decoding_collapses_repetitions_and_drops_blanks():
    assert Ctc().decode(steps([0, 1, 1, 0, 1, 2, 2, 3, 0])) == [1, 1, 2, 3]
    assert Ctc(blank=-1).decode(steps([0, 0, 4, 0, 1])) == [0, 0, 1]
    turned = steps([0, 1, 1, 0, 1]).transpose(1, 0, 2)
    assert Ctc().decode(turned) == [1, 1]


def test_the_distance_is_a_part_of_the_longer_text():
    spec = MetricSpec("ctc", 0.1)
    wanted = steps([1, 2, 3, 4])
    found = scored(
        spec, [wanted] * 4, [wanted, steps([1, 2, 3, 0]), steps([0] * 4), steps([2, 3, 4, 1])]
    )
    assert found.values.tolist() == [0, 0.25, 1, 0.5]


def test_where_nothing_is_read_the_sample_says_nothing():
    found = scored(MetricSpec("ctc", 0.1), [steps([0, 0])], [steps([0, 0])])
    assert (len(found.values), found.silent) == (0, 1)


@pytest.mark.parametrize("shape", [(1, 5), (2, 7, 5), (1, 7, 1)])
def test_what_are_no_steps_does_not_fit(shape):
    with pytest.raises(UsageError, match="does not fit"):
        scored(MetricSpec("ctc", 0.1), [np.ones(shape)], [np.ones(shape)])


@given(WORDS, WORDS, WORDS)
def test_the_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_the_edit_distance_of_kitten_and_sitting_is_3():
    assert edit_distance([*map(ord, "kitten")], [*map(ord, "sitting")]) == 3
