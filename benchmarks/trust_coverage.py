"""How often the intervals that metrics print hold the truth: never less often than they say.

    python benchmarks/trust_coverage.py [--runs 1000] [--seed 0]

Takes samples from distributions whose truth is known, and asks the judge itself for the figure,
as it would print it. Each of the two bounds is one-sided, at 95 %. Where scores have two values,
all outcomes are enumerated and the coverage is exact; else it is that of so many runs. Prints a
Markdown table, which docs/trust-coverage.md holds. Exit 1 where a bound holds less often than
95 %: at all where the coverage is exact, beyond doubt (upper 99.9 % bound) where it is simulated.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import binom

from modelcheck.judge import clopper_pearson
from modelcheck.judge.metrics import Figure, MetricSpec, Scores, figure_of

CONFIDENCE = 0.95
CLASSES = 10
SIZES = (10, 30, 100, 300)

Rng = np.random.Generator
Draw = Callable[[Rng, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """Scores with a known truth.

    `draw` makes n of them; `points` instead: (worse, better, chance of the better), enumerated.
    `grouped`: each sample also has a class.
    """

    about: str
    spec: MetricSpec
    truth: float
    draw: Draw | None = None
    points: tuple[float, float, float] | None = None
    grouped: bool = False


@dataclass(frozen=True)
class Coverage:
    """How often each bound holds, and the median width of the interval."""

    lower: float
    upper: float
    width: float


def missed_now_and_then(rng: Rng, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.05, 0.0, rng.beta(49, 1, n))


def flips(rng: Rng, n: int) -> np.ndarray:
    """Class k flips with a probability of 0.02 k: that of the worst is 0.18."""
    return (rng.random(n) < 0.02 * (np.arange(n) % CLASSES)).astype(np.float64)


def cases() -> Iterator[Case]:
    for p in (0.5, 0.9, 0.99, 0.999):
        yield Case(f"agree: {p}", MetricSpec("top1", 0.9), p, points=(0, 1, p))
    boxes = MetricSpec("boxes", 0.9, options=(("boxes", "b"), ("scores", "s")))
    for p, low in ((0.95, 0), (0.5, 0), (0.99, 0.5), (0.999, 0), (0.8, 0.9)):
        truth = p + (1 - p) * low
        yield Case(f"1 in {p:g}, else {low:g}", boxes, truth, points=(low, 1, p))
    for a, b in ((49, 1), (9, 1), (1, 1), (0.5, 0.5), (2, 30)):
        draw = partial(lambda rng, n, a, b: rng.beta(a, b, n), a=a, b=b)
        yield Case(f"beta({a}, {b})", boxes, a / (a + b), draw)
    yield Case("beta(49, 1), 5 % missed", boxes, 0.95 * 0.98, missed_now_and_then)
    yield Case("0.1 in 1 of 5", MetricSpec("ctc", 0.1), 0.02, points=(0.1, 0, 0.8))
    for worse, better in ((0.02, 0.02), (0.05, 0.01), (0.01, 0.0), (0.3, 0.3)):
        chances = [better, 1 - worse - better, worse]
        draw = partial(lambda rng, n, p: rng.choice([-1.0, 0.0, 1.0], n, p=p), p=chances)
        about = f"{worse:.0%} worse, {better:.0%} better"
        yield Case(about, MetricSpec("drop", 0.02), worse - better, draw)
    for p in (0.95, 0.99):
        yield Case(f"PSNR good: {p}", MetricSpec("psnr", 35.0), p, points=(30, 40, p))
    yield Case("10 classes, 0 to 18 %", MetricSpec("flips", 0.2), 0.18, flips, grouped=True)


def figure(case: Case, values: np.ndarray) -> Figure:
    n = len(values)
    groups = tuple(i % CLASSES for i in range(n)) if case.grouped else (None,) * n
    return figure_of(case.spec, Scores(values, tuple(range(n)), groups))


def exactly(case: Case, n: int, points: tuple[float, float, float]) -> Coverage:
    """By all numbers of samples that have the better score."""
    worse, better, chance = points
    found = [figure(case, np.repeat([better, worse], [k, n - k])) for k in range(n + 1)]
    weights = binom.pmf(np.arange(n + 1), n, chance)
    return _coverage(case, found, weights)


def simulated(case: Case, n: int, draw: Draw, runs: int, rng: Rng) -> Coverage:
    found = [figure(case, draw(rng, n)) for _ in range(runs)]
    return _coverage(case, found, np.full(runs, 1 / runs))


def _coverage(case: Case, found: list[Figure], weights: np.ndarray) -> Coverage:
    lower = weights @ [f.lower <= case.truth + 1e-9 for f in found]
    upper = weights @ [f.upper >= case.truth - 1e-9 for f in found]
    widths = np.array([f.upper - f.lower for f in found])
    order = np.argsort(widths)
    middle = int(np.searchsorted(np.cumsum(weights[order]), 0.5))
    return Coverage(float(lower), float(upper), float(widths[order][min(middle, len(order) - 1)]))


def too_seldom(held: float, runs: int | None) -> bool:
    if runs is None:
        return held < CONFIDENCE - 1e-9
    return clopper_pearson(round(held * runs), runs, 0.999)[1] < CONFIDENCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    least = {True: 1.0, False: 1.0}
    bad = 0
    print(
        "| metric | asks for | scores | truth | samples | by | lower holds | upper holds | width |"
    )
    print("|---" * 9 + "|")
    for row, (case, n) in enumerate(itertools.product(cases(), SIZES)):
        runs = None if case.points else asked.runs
        if case.points is not None:
            seen = exactly(case, n, case.points)
        else:
            assert case.draw is not None
            rng = np.random.default_rng([asked.seed, row])
            seen = simulated(case, n, case.draw, asked.runs, rng)
        least[runs is None] = min(least[runs is None], seen.lower, seen.upper)
        bad += too_seldom(seen.lower, runs) + too_seldom(seen.upper, runs)
        print(
            f"| {case.spec.kind} | {case.spec.asks} | {case.about} | {case.truth:.4g} | {n} "
            f"| {'exact' if runs is None else 'runs'} "
            f"| {seen.lower:.2%} | {seen.upper:.2%} | {seen.width:.3f} |",
            flush=True,
        )
    print(f"\nLeast coverage of any bound: {least[True]:.2%} where it is exact, {least[False]:.2%} "
          f"by {asked.runs:,} runs of each row.")  # fmt: skip
    print(f"Bounds that hold less often than {CONFIDENCE:.0%}: {bad}.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
