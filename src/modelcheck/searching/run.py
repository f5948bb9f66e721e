"""The orchestrator of a search: a plan goes in, events come out, the last one with the result.

    choosing ─► contenders in one race ─► the fastest three ─► the gate ─► the first that passes

Everything before the gate chooses, by point estimates and on samples of its own; only the gate
decides, on samples and in processes that nothing was chosen by.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from modelcheck import units
from modelcheck.judge import Outcome
from modelcheck.process import Workspace
from modelcheck.recipe import CheckKind, Judging, apply_steps
from modelcheck.searching.choosing import RACE_ROUNDS, RACE_S, Choosing
from modelcheck.searching.looking import holds, limit_for, look, worst_db
from modelcheck.searching.plan import Contender, Event, Goal, Judged, Searched, SearchPlan
from modelcheck.searching.stopwatch import Runner, Times
from modelcheck.targets import Engine
from modelcheck.verification import Plan, Progressed, StageStarted, Verified, verify

_FINALISTS = 3
# Where nobody asks for more: provably no slower; and what is small may be a little slower.
_LEAST_SPEEDUP = {Goal.FASTEST: 1.0, Goal.SMALLEST: 0.95, Goal.BEST: 1.0}
_LEAST_JUDGING_S = 20.0


def search_events(plan: SearchPlan) -> Iterator[Event]:
    """Find the fastest form of a model that passes the gate, or the smallest, or the nearest.

    Ctrl-C ends the choosing, and what was found until then goes to the gate. Raises
    ModelcheckError where nothing can be measured: a reference or a target that does not run.
    """
    with Workspace() as workspace, ExitStack() as stack:
        yield from _Run(plan, Choosing(plan, workspace, stack)).events()


@dataclass
class _Run:
    plan: SearchPlan
    choosing: Choosing
    start_s: float = field(default_factory=time.monotonic)

    def events(self) -> Iterator[Event]:
        choosing = self.choosing
        yield StageStarted("running the reference", None)
        choosing.expect()
        yield StageStarted("timing the original", None)
        choosing.time_original()
        try:
            yield from choosing.explore()
        except KeyboardInterrupt:
            choosing.watch.close()
            choosing.notes.append("interrupted: what had been found until then went to the gate")
        yield StageStarted("racing the candidates", None)
        choosing.race()
        judged: list[Judged] = []
        for finalist in self._finalists():
            yield from self._judge(finalist, judged)
            if judged[-1].verification.outcome is Outcome.PASS:
                break
        best = next((j for j in judged if j.verification.outcome is Outcome.PASS), None)
        if best is not None:
            self._look_at_auto(best)
        yield self._result(judged, best)

    def _finalists(self) -> list[Contender]:
        plan = self.plan
        if plan.goal is Goal.BEST and self._original_will_do():
            return []
        least, budget_s = _LEAST_SPEEDUP[plan.goal], plan.latency_budget_s
        found = [
            c for c in self.choosing.contenders
            if c.holds and c.gain.ratio > least and c.steps and not c.latency_s > budget_s
        ]  # fmt: skip
        if plan.goal is Goal.SMALLEST:
            smaller = [c for c in found if c.model_bytes < plan.model.nbytes]
            return sorted(smaller, key=lambda c: c.model_bytes)[:_FINALISTS]
        if plan.goal is Goal.BEST:
            return sorted(found, key=lambda c: -c.db)[:_FINALISTS]
        return sorted(found, key=lambda c: -c.gain.ratio)[:_FINALISTS]

    def _original_will_do(self) -> bool:
        """Whether the original is within the budget of latency, by a first look."""
        choosing = self.choosing
        return choosing.original[choosing.baseline] <= self.plan.latency_budget_s

    def _judge(self, finalist: Contender, judged: list[Judged]) -> Iterator[Event]:
        plan = self.plan
        limits, baseline = plan.settings.limits, self.choosing.baseline
        if limits.speed_ratio_required() is None:
            limits = replace(limits, min_speedup=_LEAST_SPEEDUP[plan.goal])
        made = apply_steps(
            plan.model,
            finalist.steps,
            seed=plan.seed,
            activations=self.choosing.context.activations,
        )
        left_s = plan.time_budget_s - (time.monotonic() - self.start_s)
        asked = Plan(
            plan.model, made.model, plan.samples.verdict,
            (replace(plan.settings, target=finalist.target, limits=limits),),
            claim=finalist.claim,
            judging=Judging(
                checks=frozenset({CheckKind.EQUIVALENCE, CheckKind.SPEED}),
                time_budget_s=max(_LEAST_JUDGING_S, left_s / 2),
            ),
            seed=plan.seed, child_limits=plan.child_limits, memory=plan.memory,
            original_on=None if baseline is finalist.target.engine else baseline,
            rivals=_FINALISTS,
        )  # fmt: skip
        for event in verify(asked):
            if isinstance(event, Verified):
                judged.append(Judged(finalist, made, event.result))
            elif isinstance(event, StageStarted | Progressed):
                yield event

    def _look_at_auto(self, best: Judged) -> None:
        """What it does for a program that asks for no engine."""
        if len(self.choosing.engines) == 1:
            return
        choosing, made = self.choosing, best.made.model
        auto = Runner(made, Engine.AUTO)
        target = replace(self.plan.settings.target, engine=Engine.AUTO)
        limits = self.plan.settings.limits
        seen = look(choosing.watch, auto, choosing.expected, target, limits)
        named = f"load it with {best.contender.target.engine}"
        if seen is None:
            choosing.notes.append(f"without an engine being named it does not run: {named}")
            return
        if not holds(limit_for(limits, best.contender.claim), seen):
            choosing.notes.append(
                f"without an engine being named its outputs are wrong "
                f"({units.decibels(worst_db(seen))}): {named}"
            )
            return
        times = choosing.watch.race(
            {"original": Runner(self.plan.model, choosing.baseline), "auto": auto},
            choosing.expected.arrays, rounds=RACE_ROUNDS, seconds=RACE_S / 2, anew=True,
        )  # fmt: skip
        original, found = times["original"], times["auto"]
        if isinstance(original, Times) and isinstance(found, Times):
            ratio = units.ratio(found.gain_over(original).ratio)
            choosing.notes.append(
                f"without an engine being named it runs {ratio} as fast as the original on its "
                f"fastest engine: {named}"
            )

    def _result(self, judged: Sequence[Judged], best: Judged | None) -> Searched:
        asked = self.plan.settings.limits.speed_ratio_required() is not None
        asked = asked or not self._original_will_do()
        undecided = any(j.verification.outcome is Outcome.INCONCLUSIVE for j in judged)
        missed = Outcome.INCONCLUSIVE if undecided else Outcome.FAIL
        return Searched(
            plan=self.plan,
            original=self.choosing.original,
            baseline=replace(self.plan.settings.target, engine=self.choosing.baseline),
            contenders=tuple(self.choosing.contenders),
            judged=tuple(judged),
            best=best,
            outcome=missed if best is None and asked else Outcome.PASS,
            opencv=self.choosing.opencv,
            notes=tuple(self.choosing.notes),
            seconds=time.monotonic() - self.start_s,
        )
