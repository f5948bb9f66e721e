"""Arrays and timings in, evidence and outcomes out. Pure: reads nothing, prints nothing."""

from modelcheck.judge.agreement import (
    Agreement,
    AgreementEvidence,
    clopper_pearson,
    highest_provable,
    is_class_scores,
    samples_needed,
)
from modelcheck.judge.comparison import (
    Comparison,
    ComparisonEvidence,
    OutputComparison,
    OutputEvidence,
)
from modelcheck.judge.equivalence import (
    EquivalenceCase,
    EquivalenceEvidence,
    describe_noise,
    hopeless_limit,
    judge_equivalence,
    needs_noise_floor,
    wants_noise_floor,
)
from modelcheck.judge.input_score import InputScore, Measured, Scales, measure
from modelcheck.judge.limits import (
    CLAIMS,
    EquivalenceLimit,
    Limits,
    Term,
    default_limit,
    limit_of,
    parse_fraction,
    parse_limit,
)
from modelcheck.judge.noise import NoiseFloor, Variation, lower_bound
from modelcheck.judge.outcome import Blame, Check, Outcome, exit_code, gravest, overall
from modelcheck.judge.sequential import Block, SequentialTest, interval, ready
from modelcheck.judge.speed import (
    SpeedCase,
    SpeedEvidence,
    judge_speed,
    measure_speed,
    speed_decided,
)
from modelcheck.judge.worst_case import (
    Flips,
    FoundInput,
    WorstCaseEvidence,
    describe_search,
    judge_worst_case,
)

__all__ = [
    "CLAIMS",
    "Agreement",
    "AgreementEvidence",
    "Blame",
    "Block",
    "Check",
    "Comparison",
    "ComparisonEvidence",
    "EquivalenceCase",
    "EquivalenceEvidence",
    "EquivalenceLimit",
    "Flips",
    "FoundInput",
    "InputScore",
    "Limits",
    "Measured",
    "NoiseFloor",
    "Outcome",
    "OutputComparison",
    "OutputEvidence",
    "Scales",
    "SequentialTest",
    "SpeedCase",
    "SpeedEvidence",
    "Term",
    "Variation",
    "WorstCaseEvidence",
    "clopper_pearson",
    "default_limit",
    "describe_noise",
    "describe_search",
    "exit_code",
    "gravest",
    "highest_provable",
    "hopeless_limit",
    "interval",
    "is_class_scores",
    "judge_equivalence",
    "judge_speed",
    "judge_worst_case",
    "limit_of",
    "lower_bound",
    "measure",
    "measure_speed",
    "needs_noise_floor",
    "overall",
    "parse_fraction",
    "parse_limit",
    "ready",
    "samples_needed",
    "speed_decided",
    "wants_noise_floor",
]
