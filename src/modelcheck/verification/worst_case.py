"""The worst-case stage: on each target that asks for it, look for inputs worse than the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelcheck.judge import Check, WorstCaseEvidence, judge_worst_case, lower_bound
from modelcheck.model.permutation import longest_reduction
from modelcheck.process import Workspace
from modelcheck.reference import Reference
from modelcheck.transforms import Claim
from modelcheck.verification.equivalence import Tally
from modelcheck.verification.events import Event, Progressed, StageStarted
from modelcheck.verification.extremes import Extremes
from modelcheck.verification.kept_inputs import KeptInputs
from modelcheck.verification.lane import Lane
from modelcheck.verification.plan import Plan
from modelcheck.verification.worst_search import Starts, WorstSearch


def extremes_for(plan: Plan, number: int) -> Extremes | None:
    """What the search on a target wants to know of the data; None where there is no search."""
    if not plan.targets[number].limits.inputs_to_search():
        return None
    return Extremes(exact=plan.claim is Claim.EXACT)


@dataclass
class WorstCaseStage:
    """Searches lane after lane, each in processes of its own. Iterate `run()`."""

    plan: Plan
    reference: Reference
    workspace: Workspace
    checks: dict[int, Check] = field(default_factory=dict)
    evidence: dict[int, WorstCaseEvidence] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def run(self, lanes: Sequence[Lane], tallies: Mapping[int, Tally]) -> Iterator[Event]:
        """Search on every lane that is alive; what is found on one is replayed on the next."""
        chosen = {
            i: e for i, t in tallies.items() if t.samples and lanes[i].alive and (e := t.extremes)
        }
        if not chosen:
            return
        kept = KeptInputs(self.plan.worst_folder, self.plan.original, self.plan.candidate)
        for i, extremes in chosen.items():
            lane = Lane(lanes[i].settings, lanes[i].files, self.plan.child_limits)
            try:
                lane.start()
                lane.load()
                yield from self._search(i, lane, extremes, kept)
            finally:
                lane.close()
        self.warnings += kept.notes

    def _search(self, i: int, lane: Lane, extremes: Extremes, kept: KeptInputs) -> Iterator[Event]:
        plan, limits = self.plan, lane.settings.limits
        asked = limits.inputs_to_search()
        yield StageStarted(f"searching for the worst input on {lane.settings.target.name}", asked)
        search = WorstSearch(
            lane, self.reference, extremes, self._starts(extremes, kept),
            asked=asked, radius=plan.judging.search_radius, seed=plan.seed,
            limit=limits.max_worst_error,
            rounding=lower_bound(longest_reduction(plan.original)), home=self.workspace.path,
        )  # fmt: skip
        for tried in search.run():
            yield Progressed(tried)
        found = search.inputs()
        path = kept.keep(found) if found else None
        evidence = search.result("" if path is None else str(path))
        self.evidence[i] = evidence
        check = judge_worst_case(
            lane.settings.target.name, evidence, limit=limits.max_worst_error,
            exact=plan.claim is Claim.EXACT, optional=lane.settings.target.optional,
        )  # fmt: skip
        if check is not None:
            self.checks[i] = check

    def _starts(self, extremes: Extremes, kept: KeptInputs) -> Starts:
        samples = self.plan.samples
        indices = sorted(WorstSearch.wanted(extremes))
        chosen = dict(zip(indices, samples.select(indices), strict=True))
        return Starts(
            {i: sample.arrays for i, sample in chosen.items()},
            {i: _named(i, sample.name) for i, sample in chosen.items()},
            kept.inputs,
            samples.synthetic,
        )


def _named(index: int, name: str) -> str:
    """'sample 17', 'sample 17 (cat.jpg)'."""
    return f"sample {index}" if name == f"sample {index}" else f"sample {index} ({name})"
