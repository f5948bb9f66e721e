"""Variants that Hypothesis draws, steered by `target()` towards what scored worst.

It draws which sample, how many edits and their few numbers (seed, size, place, amount), never
array elements. Hypothesis calls the function under test, where a search here is asked for its next
variant: so it runs in a thread of its own, which waits for each score.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

from hypothesis import (
    HealthCheck,
    Phase,
    Verbosity,
    configuration,
    given,
    seed,
    settings,
    strategies,
    target,
)

from modelcheck.worst_inputs.climbing import Search
from modelcheck.worst_inputs.edits import Contrast, Edit, Noise, Shift, channel_axis, inner_sizes
from modelcheck.worst_inputs.neighbourhood import Neighbourhood, Variant

_MOST_EDITS = 4
_STEPS = 16  # amounts are sixteenths of what is allowed: few values, plain ones
_CELLS = (1, 2, 4, 8, 16, 32)
_LOWEST, _HIGHEST = 1e-12, 1e12
_Ask = Callable[[Variant], float]


class _Enough(BaseException):
    """Unwinds the thread; Hypothesis would take an Exception for a failure of the test."""


def draw(
    near: Neighbourhood, samples: Sequence[int], *, number: int, examples: int, home: Path
) -> Search:
    """At most so many variants; `number` is the seed. `home` is where Hypothesis may write."""
    asked: SimpleQueue[Variant | BaseException | None] = SimpleQueue()
    scores: SimpleQueue[float | None] = SimpleQueue()

    def ask(variant: Variant) -> float:
        asked.put(variant)
        score = scores.get()
        if score is None:
            raise _Enough
        return score

    def run() -> None:
        try:
            _run(variants(near, samples), ask, number, examples)
            asked.put(None)
        except _Enough:
            pass
        except BaseException as error:
            asked.put(error)

    # Beside its database, which is off, it keeps the constants of programs in the working folder.
    configuration.set_hypothesis_home_dir(home)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (question := asked.get()) is not None:
            if isinstance(question, BaseException):
                raise question
            score = yield question
            scores.put(score)
    finally:
        scores.put(None)
        thread.join()
        configuration.set_hypothesis_home_dir(None)


def variants(near: Neighbourhood, samples: Sequence[int]) -> strategies.SearchStrategy[Variant]:
    """One of the samples with one to four edits."""
    alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
    for sample in samples:
        alike.setdefault(tuple(near.shapes(sample).items()), []).append(sample)
    drawn: list[strategies.SearchStrategy[Variant]] = []
    for shapes, group in alike.items():
        edits = [edit for name, shape in shapes for edit in _edits(name, shape)]
        several = strategies.lists(strategies.one_of(edits), min_size=1, max_size=_MOST_EDITS).map(
            tuple
        )
        drawn.append(strategies.builds(Variant, strategies.sampled_from(group), several))
    return strategies.one_of(drawn)


def _run(drawn: strategies.SearchStrategy[Variant], ask: _Ask, number: int, examples: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate, Phase.target],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)  # fmt: skip
    def test(variant: Variant) -> None:
        target(math.log(min(max(ask(variant), _LOWEST), _HIGHEST)))

    test()


def _edits(name: str, shape: tuple[int, ...]) -> list[strategies.SearchStrategy[Edit]]:
    amounts = strategies.sampled_from([s / _STEPS for s in range(-_STEPS, _STEPS + 1) if s])
    axis, sizes = channel_axis(shape), inner_sizes(shape)
    channels: strategies.SearchStrategy[int | None] = strategies.none()
    if axis is not None and shape[axis] > 1:
        channels |= strategies.integers(0, shape[axis] - 1)
    regions = strategies.tuples(*map(_stretches, sizes))
    cells = [cell for cell in _CELLS if cell == 1 or cell < max(sizes, default=1)]
    where = strategies.just(name)
    plain: list[strategies.SearchStrategy[Edit]] = [
        strategies.builds(Shift, where, amounts, channels),
        strategies.builds(
            Noise, where, amounts, strategies.sampled_from(cells), strategies.integers(0, 255)
        ),
    ]
    if not sizes:
        return plain
    return [
        *plain,
        strategies.builds(Shift, where, amounts, channels, regions),
        strategies.builds(Contrast, where, amounts),
    ]


def _stretches(length: int) -> strategies.SearchStrategy[tuple[int, int]]:
    """A part of an axis, shrinking to its first element."""
    return strategies.tuples(
        strategies.integers(0, length - 1), strategies.integers(1, max(1, length // 2))
    ).map(lambda pair: (pair[0], min(length, pair[0] + pair[1])))
