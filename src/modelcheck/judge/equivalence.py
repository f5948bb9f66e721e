"""Is the candidate, where it will run, still the same model? Three comparisons decide.

    target drift     the original there against the float32 reference
    transform drift  the candidate there against the original there
    total            the candidate there against the reference

Precision and lossy limits judge the total. Exact judges the transform drift within the noise
floor, and the total within max(noise floor, 1e-4; 2e-2 on a target of half floats). Where the
target drift alone is beyond the limit, a candidate whose total is within it repairs the target
and passes; any other fails, and the target is blamed. So nothing passes because both are wrong
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelcheck import units
from modelcheck.errors import printable
from modelcheck.judge.agreement import AgreementEvidence
from modelcheck.judge.comparison import ComparisonEvidence
from modelcheck.judge.findings import Finding, View, judge_outputs, structural_fault
from modelcheck.judge.limits import EquivalenceLimit, default_limit
from modelcheck.judge.noise import (
    LARGEST_LIMIT,
    LOOSEST,
    Bounds,
    NoiseFloor,
    describe_lower_bound,
    lower_bound,
    strictest,
)
from modelcheck.judge.outcome import Blame, Check, Outcome, gravest
from modelcheck.judge.tightest import tightest_limits
from modelcheck.judge.wording import equivalence_message


@dataclass(frozen=True, slots=True)
class EquivalenceCase:
    """Everything that one equivalence verdict may look at.

    A model verified alone is its own original: `target_drift` is `total`, and there is no
    `transform_drift`. Agreements are by output name, for those outputs that hold classes.
    """

    target: str
    claim: str
    target_drift: ComparisonEvidence
    transform_drift: ComparisonEvidence | None
    total: ComparisonEvidence
    judged_samples: int  # distinct samples, however many runs each had
    limit: EquivalenceLimit | None = None  # None: the default of the claim
    judged_by_metrics: frozenset[str] = frozenset()  # outputs that need no default
    target_agreement: Mapping[str, AgreementEvidence] = field(default_factory=dict)
    total_agreement: Mapping[str, AgreementEvidence] = field(default_factory=dict)
    noise_floor: NoiseFloor | None = None  # None: not measured
    two_engines: ComparisonEvidence | None = None  # the candidate there and in another engine
    reduction_length: int = 1  # K, for the lower bound while nothing is measured
    synthetic: bool = False
    optional: bool = False
    half_floats: bool = False  # the target computes in float16

    @property
    def effective_limit(self) -> EquivalenceLimit:
        """The declared limit, or the default of the claim."""
        limit = self.limit or default_limit(self.claim)
        return limit.on_half_floats() if self.half_floats else limit

    @property
    def exact(self) -> bool:
        """Whether the candidate may only round: claimed, or asked for by max-error=auto."""
        return self.claim == "exact" or self.effective_limit.exact

    @property
    def exempt(self) -> frozenset[str]:
        """The outputs of which only shape, dtype and finiteness are judged here.

        A declared metric takes the place of a default, on the outputs that it looks at.
        """
        return frozenset() if self.limit or self.claim == "exact" else self.judged_by_metrics

    @property
    def alone(self) -> bool:
        """Whether there is no candidate, and the question is what the target does."""
        return self.transform_drift is None


@dataclass(frozen=True, slots=True)
class EquivalenceEvidence:
    """What the verdict stands on; `tightest` holds the limits that would just pass."""

    claim: str
    limit: str
    tightest: Mapping[str, float]
    target_drift: ComparisonEvidence
    transform_drift: ComparisonEvidence | None
    total: ComparisonEvidence
    target_agreement: Mapping[str, AgreementEvidence]
    total_agreement: Mapping[str, AgreementEvidence]
    noise_floor: NoiseFloor | None
    noise_limit: float  # what rounding alone explains of the noisiest output, scale-relative
    noise: str  # the same in words, with where it comes from
    two_engines: ComparisonEvidence | None
    repairs_target: bool
    synthetic: bool
    judged_samples: int


@dataclass(frozen=True, slots=True)
class _Decision:
    outcome: Outcome
    blame: Blame
    findings: tuple[Finding, ...]
    repairs_target: bool = False


def judge_equivalence(case: EquivalenceCase) -> Check:
    """The verdict on one target, with a message that says where, what and what to do."""
    decision = _decide(case)
    tightest = tightest_limits(
        total=case.total,
        target_drift=case.target_drift,
        transform_drift=case.transform_drift if case.exact else None,
        agreement=case.total_agreement,
        samples=case.judged_samples,
    )
    floor = case.noise_floor
    evidence = EquivalenceEvidence(
        claim=case.claim,
        limit=_asked(case),
        tightest=tightest,
        target_drift=case.target_drift,
        transform_drift=case.transform_drift,
        total=case.total,
        target_agreement=dict(case.target_agreement),
        total_agreement=dict(case.total_agreement),
        noise_floor=case.noise_floor,
        noise_limit=lower_bound(case.reduction_length) if floor is None else floor.limit,
        noise=describe_noise(case),
        two_engines=case.two_engines,
        repairs_target=decision.repairs_target,
        synthetic=case.synthetic,
        judged_samples=case.judged_samples,
    )
    message = equivalence_message(
        case.target, decision.outcome, decision.blame, decision.findings, evidence
    )
    return Check(
        kind="equivalence",
        target=case.target,
        outcome=decision.outcome,
        message=message,
        blame=decision.blame,
        evidence=evidence,
        optional=case.optional,
    )


def _asked(case: EquivalenceCase) -> str:
    """The limit, and which outputs are left to declared metrics."""
    names = [output.name for output in case.total.outputs]
    left = [name for name in names if name in case.exempt]
    if not left:
        return case.effective_limit.describe()
    by_metrics = "the declared metrics"
    if len(left) == len(names):
        return by_metrics
    return f"{by_metrics}; of the other outputs {case.effective_limit.describe()}"


def needs_noise_floor(case: EquivalenceCase) -> bool:
    """Whether measuring the noise floor can change the verdict; measuring costs many runs.

    Outcomes are monotone in the floor, which lies between its lower bound and LARGEST_LIMIT:
    where both ends decide alike, so does everything between.
    """
    if case.noise_floor is not None:
        return False
    strict = _decide_at(case, strictest(case.reduction_length))
    loose = _decide_at(case, LOOSEST)
    return (strict.outcome, strict.blame) != (loose.outcome, loose.blame)


def wants_noise_floor(case: EquivalenceCase) -> bool:
    """Whether the floor decides, or tells why a declared max-error that small was missed."""
    declared = case.effective_limit.largest_error()
    if needs_noise_floor(case):
        return True
    small = declared is not None and declared < LARGEST_LIMIT and case.noise_floor is None
    return small and _decide(case).outcome is Outcome.FAIL


def hopeless_limit(case: EquivalenceCase) -> float | None:
    """A declared max-error below what rounding alone explains, as far as that is known."""
    declared = case.effective_limit.largest_error()
    floor = case.noise_floor
    known = lower_bound(case.reduction_length) if floor is None else floor.limit
    return declared if declared is not None and declared < known else None


def describe_noise(case: EquivalenceCase) -> str:
    """What rounding alone explains, and how that is known."""
    if case.two_engines is not None and case.two_engines.outputs:
        worst = min(case.two_engines.outputs, key=lambda output: output.sqnr_db)
        return (
            f"two engines at this precision lie {units.decibels(worst.sqnr_db)} apart (the "
            f"candidate in onnxruntime and here, output '{printable(worst.name, limit=60)}')"
        )
    if case.noise_floor is not None:
        return case.noise_floor.describe()
    return describe_lower_bound(case.reduction_length, "no more was needed to decide")


def _decide(case: EquivalenceCase) -> _Decision:
    if needs_noise_floor(case):
        unmeasured = Finding(
            Outcome.INCONCLUSIVE,
            "the error lies above the least noise floor, and the model's own is not measured",
            "Let the noise floor be measured, or declare max-error",
        )
        return _Decision(Outcome.INCONCLUSIVE, Blame.NONE, (unmeasured,))
    return _decide_at(case, case.noise_floor or strictest(case.reduction_length))


def _decide_at(case: EquivalenceCase, noise: NoiseFloor | Bounds) -> _Decision:
    decision = _lack_of_evidence(case) or _structural_faults(case) or _by_the_limits(case, noise)
    if decision.outcome is not Outcome.PASS:
        return decision
    return _doubts(case) or decision


def _lack_of_evidence(case: EquivalenceCase) -> _Decision | None:
    comparisons = [case.total, case.target_drift, case.transform_drift]
    fewest = min(c.samples for c in comparisons if c is not None)
    # Under a fault there are no elements to count, and the fault is evidence enough.
    faulty = any(structural_fault(output) for output in case.total.outputs)
    elements = sum(output.elements for output in case.total.outputs)
    if case.judged_samples > 0 and fewest > 0 and (elements > 0 or faulty):
        return None
    what = "no sample was judged" if min(case.judged_samples, fewest) == 0 else "outputs are empty"
    nothing = Finding(Outcome.INCONCLUSIVE, what, "Give samples to judge by")
    return _Decision(Outcome.INCONCLUSIVE, Blame.DATA, (nothing,))


def _structural_faults(case: EquivalenceCase) -> _Decision | None:
    """Shapes, dtypes and finiteness come first: no figure means anything without them."""
    faults: list[Finding] = []
    blame = Blame.TARGET
    for output in case.total.outputs:
        fault = structural_fault(output)
        there = case.target_drift.output(output.name)
        # A dtype that the target gives to both is its convention: the values are still compared.
        if fault is None and (there is None or there.dtype_mismatch is None):
            fault = output.dtype_mismatch
        if fault is None:
            continue
        faults.append(Finding(Outcome.FAIL, fault, output=output.name))
        if there is None or structural_fault(there) is None:
            blame = Blame.TRANSFORM
    return _Decision(Outcome.FAIL, blame, tuple(faults)) if faults else None


def _by_the_limits(case: EquivalenceCase, noise: NoiseFloor | Bounds) -> _Decision:
    limit = case.effective_limit
    samples = case.judged_samples
    agreed = case.target_agreement
    original = View(case.target_drift, agreed, samples, noise, exempt=case.exempt)
    target_fails = gravest(f.outcome for f in judge_outputs(limit, original)) is Outcome.FAIL
    # From a wrong original, the way to a right candidate is long: only the total counts then.
    moved = None if target_fails else case.transform_drift
    exact = case.claim == "exact"
    candidate = View(
        case.total, case.total_agreement, samples, noise, moved, exact, exempt=case.exempt
    )
    findings = judge_outputs(limit, candidate)
    outcome = gravest(f.outcome for f in findings)
    if outcome is Outcome.PASS:
        return _Decision(outcome, Blame.NONE, findings, repairs_target=target_fails)
    if outcome is Outcome.INCONCLUSIVE:
        return _Decision(outcome, Blame.DATA, findings)
    blame = Blame.TARGET if target_fails or case.alone else Blame.TRANSFORM
    return _Decision(outcome, blame, findings)


def _doubts(case: EquivalenceCase) -> _Decision | None:
    """Reasons for which figures that are good enough still prove nothing."""
    doubts = [
        Finding(
            Outcome.INCONCLUSIVE,
            f"the reference itself is not finite in {output.expected_non_finite:,} elements",
            "Check the preprocessing, or judge other samples",
            output.name,
        )
        for output in case.total.outputs
        if output.expected_non_finite
    ]
    if case.synthetic and not case.exact:
        doubts.append(
            Finding(
                Outcome.INCONCLUSIVE,
                f"synthetic inputs cannot prove a {case.claim} claim",
                "Give real data",
            )
        )
    return _Decision(Outcome.INCONCLUSIVE, Blame.DATA, tuple(doubts)) if doubts else None
