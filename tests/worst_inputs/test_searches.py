"""The searches find what is there, shrink it, and do the same each time."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest

from modelcheck.worst_inputs import Neighbourhood, Ranges, Variant, climb, describe_change, shrink
from modelcheck.worst_inputs.drawing import draw

Score = Callable[[Variant], float]


def neighbourhood() -> Neighbourhood:
    random = np.random.default_rng(0)
    samples = {i: {"x": random.uniform(0, 1, (1, 3, 16, 16)).astype(np.float32)} for i in range(4)}
    ranges = Ranges()
    for arrays in samples.values():
        ranges.update(arrays)
    return Neighbourhood(samples, ranges, radius=0.1)


NEAR = neighbourhood()


def brightness_of_a_patch(variant: Variant) -> float:
    """Of 8 pixels of channel 1, beyond that of the same pixels of channel 0."""
    patch = NEAR.arrays(variant)["x"][0, :2, 4:8, 6:8].mean(axis=(1, 2))
    return float(patch[1] - patch[0])


KNOWN = {i: brightness_of_a_patch(Variant(i)) for i in NEAR.samples}


def asked(search: Generator[Variant, float, None], score: Score, count: int) -> list[Variant]:
    """The first questions of a search that is told the truth."""
    variants = []
    try:
        variant = next(search)
        for _ in range(count):
            variants.append(variant)
            variant = search.send(score(variant))
    except StopIteration:
        pass
    finally:
        search.close()
    return variants


def drawn(seed: int, home: Path, examples: int = 60) -> list[Variant]:
    search = draw(NEAR, list(KNOWN), number=seed, examples=examples, home=home)
    return asked(search, brightness_of_a_patch, 1000)


def test_climbing_raises_the_score() -> None:
    found = asked(climb(NEAR, KNOWN, seed=1), brightness_of_a_patch, 200)
    assert max(map(brightness_of_a_patch, found)) > max(KNOWN.values()) + 0.07


def test_hypothesis_raises_the_score(tmp_path: Path) -> None:
    assert max(map(brightness_of_a_patch, drawn(1, tmp_path))) > max(KNOWN.values()) + 0.05


def test_the_same_seed_asks_the_same_questions(tmp_path: Path) -> None:
    first, again, other = (
        asked(climb(NEAR, KNOWN, seed=seed), brightness_of_a_patch, 50) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert drawn(1, tmp_path) == drawn(1, tmp_path) != drawn(2, tmp_path)


def test_hypothesis_draws_no_more_than_it_may(tmp_path: Path) -> None:
    assert len(drawn(3, tmp_path, examples=25)) <= 25


def test_scores_that_are_not_finite_do_not_stop_hypothesis(tmp_path: Path) -> None:
    scores = itertools.cycle([math.inf, 0.0, 1.0])
    search = draw(NEAR, [0], number=1, examples=30, home=tmp_path)
    assert len(asked(search, lambda _: next(scores), 1000)) > 10


def test_a_search_that_is_left_ends_its_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    search = draw(NEAR, [0], number=1, examples=1000, home=tmp_path)
    next(search)
    assert threading.active_count() == before + 1
    search.close()
    assert threading.active_count() == before


def test_an_error_inside_the_thread_comes_out(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Unable to satisfy"):
        next(draw(NEAR, [], number=1, examples=5, home=tmp_path))


def shrunk(variant: Variant, holds: Callable[[Variant], bool]) -> Variant:
    search = shrink(NEAR, variant)
    answer: bool | None = None
    while True:
        try:
            tried = next(search) if answer is None else search.send(answer)
        except StopIteration:
            return variant
        answer = holds(tried)
        variant = tried if answer else variant


def test_shrinking_leaves_few_places_and_few_edits() -> None:
    found = max(
        asked(climb(NEAR, KNOWN, seed=1), brightness_of_a_patch, 200), key=brightness_of_a_patch
    )
    goal = (brightness_of_a_patch(found) + KNOWN[found.sample]) / 2
    small = shrunk(found, lambda variant: brightness_of_a_patch(variant) > goal)
    assert brightness_of_a_patch(small) > goal
    assert len(small.edits) < len(found.edits)
    changed = NEAR.arrays(small)["x"] != NEAR.samples[small.sample]["x"]
    assert changed.sum() <= 3 * 32
    assert "with" in describe_change(NEAR, small, "sample 1")


def test_shrinking_what_cannot_be_shrunk_ends() -> None:
    found = asked(climb(NEAR, KNOWN, seed=1), brightness_of_a_patch, 50)[-1]
    assert shrunk(found, lambda _: False) == found
