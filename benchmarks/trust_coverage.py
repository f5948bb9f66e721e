"""How often the intervals that metrics print hold the truth: never less often than they say.

    python benchmarks/trust_coverage.py [--runs 2000] [--seed 0]

Draws samples from distributions whose truth is known, and asks the judge itself for the figure,
as it would print it. Each of the two bounds is one-sided, at 95 %. Prints a Markdown table; the
figures in docs/trust-coverage.md are its output. Exit 1 where a bound holds less often than 95 %
beyond doubt (the upper 99.9 % bound on its coverage lies below).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from modelcheck.judge import clopper_pearson
from modelcheck.judge.metrics import Figure, MetricSpec, Scores, figure_of

CONFIDENCE = 0.95
CLASSES = 10
SIZES = (10, 30, 100, 300)

Rng = np.random.Generator
Draw = Callable[[Rng, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """Scores with a known truth. `grouped`: each sample also has a class."""

    about: str
    spec: MetricSpec
    draw: Draw
    truth: float
    grouped: bool = False


def beta(a: float, b: float) -> Draw:
    return lambda rng, n: rng.beta(a, b, n)


def bernoulli(p: float) -> Draw:
    return lambda rng, n: (rng.random(n) < p).astype(np.float64)


def of_values(values: list[float], chances: list[float]) -> Draw:
    return lambda rng, n: rng.choice(values, n, p=chances)


def missed_now_and_then(rng: Rng, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.05, 0.0, rng.beta(49, 1, n))


def flips(rng: Rng, n: int) -> np.ndarray:
    """Class k flips with a probability of 0.02 k: that of the worst is 0.18."""
    labels = np.arange(n) % CLASSES
    return (rng.random(n) < 0.02 * labels).astype(np.float64)


def cases() -> Iterator[Case]:
    for p in (0.5, 0.9, 0.99, 0.999):
        yield Case(f"agree or not, {p}", MetricSpec("top1", 0.9), bernoulli(p), p)
    boxes = MetricSpec("boxes", 0.9, options=(("boxes", "b"), ("scores", "s")))
    for a, b in ((49, 1), (9, 1), (1, 1), (0.5, 0.5), (2, 30)):
        yield Case(f"beta({a}, {b})", boxes, beta(a, b), a / (a + b))
    yield Case("0 or 1, 0.95 (two points)", boxes, bernoulli(0.95), 0.95)
    yield Case("beta(49, 1), 5 % missed", boxes, missed_now_and_then, 0.95 * 0.98)
    yield Case("0.5 in 1 of 100, else 1", boxes, of_values([0.5, 1], [0.01, 0.99]), 0.995)
    yield Case("0 in 1 of 1,000, else 1", boxes, of_values([0, 1], [0.001, 0.999]), 0.999)
    ctc = MetricSpec("ctc", 0.1)
    yield Case("a tenth of the text in 1 of 5", ctc, of_values([0, 0.1], [0.8, 0.2]), 0.02)
    drop = MetricSpec("drop", 0.02)
    for worse, better in ((0.02, 0.02), (0.05, 0.01), (0.01, 0.0), (0.3, 0.3)):
        chances = [better, 1 - worse - better, worse]
        draw = of_values([-1, 0, 1], chances)
        yield Case(f"{worse:.0%} worse, {better:.0%} better", drop, draw, worse - better)
    kl = MetricSpec("kl", 0.1)
    yield Case(
        "exponential(0.03)", kl, lambda rng, n: rng.exponential(0.03, n), 1 - np.exp(-1 / 0.3)
    )
    psnr = MetricSpec("psnr", 35.0, share=0.9)
    yield Case("normal(38.845, 3)", psnr, lambda rng, n: rng.normal(38.8447, 3, n), 0.9)
    yield Case("10 classes, 0 to 18 %", MetricSpec("flips", 0.2), flips, 0.18, grouped=True)


def figure(case: Case, rng: Rng, n: int) -> Figure:
    values = case.draw(rng, n)
    groups = tuple(i % CLASSES for i in range(n)) if case.grouped else (None,) * n
    return figure_of(case.spec, Scores(values, tuple(range(n)), groups))


def coverage(case: Case, n: int, runs: int, rng: Rng) -> tuple[int, int, float]:
    """How often the lower and the upper bound hold, and the median width of the interval."""
    found = [figure(case, rng, n) for _ in range(runs)]
    lower = sum(f.lower <= case.truth + 1e-12 for f in found)
    upper = sum(f.upper >= case.truth - 1e-12 for f in found)
    return lower, upper, float(np.median([f.upper - f.lower for f in found]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    too_seldom = 0
    least = 1.0
    print("| metric | asks for | scores | truth | samples | lower holds | upper holds | width |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases():
        for n in SIZES:
            lower, upper, width = coverage(case, n, asked.runs, rng)
            low, high = lower / asked.runs, upper / asked.runs
            least = min(least, low, high)
            for held in (lower, upper):
                too_seldom += clopper_pearson(held, asked.runs, 0.999)[1] < CONFIDENCE
            print(
                f"| {case.spec.kind} | {case.spec.asks} | {case.about} | {case.truth:.4g} | {n} "
                f"| {low:.1%} | {high:.1%} | {width:.3f} |",
                flush=True,
            )
    print(f"\nLeast coverage of any bound: {least:.2%}, by {asked.runs:,} runs of each row.")
    print(f"Bounds that hold less often than {CONFIDENCE:.0%} beyond doubt: {too_seldom}.")
    return 1 if too_seldom else 0


if __name__ == "__main__":
    sys.exit(main())
