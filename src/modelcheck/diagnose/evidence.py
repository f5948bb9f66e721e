"""What diagnosis finds: plain values, errors as SQNR in dB."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from modelcheck.diagnose.matching import Matching
from modelcheck.judge import ComparisonEvidence, Outcome, OutputEvidence
from modelcheck.model import Model
from modelcheck.targets import OpenCV, Target


class Origin(StrEnum):
    """Whose error it is.

    target     the target computes this layer wrongly, in the original already
    transform  the candidate's layer is another function, wherever it runs
    form       the candidate's layer is right in onnxruntime and wrong on the target
    """

    TARGET = "target"
    TRANSFORM = "transform"
    FORM = "form"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of both models that computes one tensor: most often one layer.

    `inputs` and `output` are tensors, by the names that they have in the original.
    """

    index: int
    name: str  # of the layer that gives the output, in the original
    operators: str  # 'Conv', 'Conv + Relu': those of the original that compute
    layers: tuple[str, ...]  # their names
    output: str
    candidate_output: str
    inputs: tuple[str, ...]
    candidate_operators: str

    @property
    def form(self) -> str:
        """'Conv', or 'Conv + BatchNormalization → Conv' where the candidate has other operators."""
        if self.operators == self.candidate_operators:
            return self.operators
        return f"{self.operators} → {self.candidate_operators}"


@dataclass(frozen=True, slots=True)
class LayerEvidence:
    """One part, fed with what the original computes in float32 before it.

    `own` compares its result with the original's in float32, None where it does not run;
    `transform_db` does so for the candidate in onnxruntime, `target_db` for the original on the
    target. `reached_db` is the error here with everything before it, None where it was not seen.
    `effect` is the noise that it alone causes in the outputs, over their signal. `origin` is None
    where its error is rounding.
    """

    part: Part
    own: OutputEvidence | None
    origin: Origin | None = None
    transform_db: float = math.inf
    target_db: float = math.inf
    reached_db: float | None = None
    added: float = 0.0  # noise over signal: the candidate's part there, against onnxruntime's
    effect: float | None = None
    trouble: str = ""  # why it could not be run
    together: tuple[str, ...] = ()  # with these layers before it, as one: what a fusion breaks

    @property
    def own_db(self) -> float:
        return -math.inf if self.own is None else sqnr_of(self.own)

    @property
    def noise(self) -> float:
        """Own noise over signal."""
        return noise_of(self.own_db)


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """The model after one step of the recipe: the outputs, and the layer that is named."""

    name: str
    outputs_db: float
    layer_db: float | None


@dataclass(frozen=True)
class Reproduction:
    """The smallest model found, and one input, that show the error."""

    model: Model
    inputs: Mapping[str, np.ndarray]
    expected: np.ndarray
    error: float  # |actual - expected| / |expected|
    nodes: int
    truth: str  # where `expected` comes from


@dataclass(frozen=True)
class Diagnosis:
    """The result. `first` and `worst` are None where the two agree.

    SQNRs of outputs are those of the worst one, against the original in float32: `total_db` on the
    target, `transform_db` the candidate's in onnxruntime, `target_db` the original's on the target.
    """

    target: Target
    opencv: OpenCV
    original: str
    candidate: str | None
    samples: int
    layers: tuple[LayerEvidence, ...]
    total: ComparisonEvidence | None
    total_db: float
    transform_db: float | None
    target_db: float | None
    rounding_db: float  # an own SQNR above this is rounding
    first: LayerEvidence | None
    worst: LayerEvidence | None
    matching: Matching
    outcome: Outcome = Outcome.INCONCLUSIVE
    message: str = ""
    steps: tuple[StepEvidence, ...] = ()
    guilty_step: int | None = None  # counts from 0
    reproduction: Reproduction | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def sqnr_of(evidence: OutputEvidence) -> float:
    """SQNR in dB. An all-zero reference has none: its largest error counts as if against 1."""
    if evidence.scale == 0 and math.isfinite(evidence.max_abs):
        return db_of(evidence.max_abs**2)
    return evidence.sqnr_db


def noise_of(db: float) -> float:
    """20 dB -> 0.01: noise over signal."""
    if db == math.inf:
        return 0.0
    return math.inf if db == -math.inf else 10 ** (-db / 10)


def db_of(noise: float) -> float:
    """0.01 -> 20 dB."""
    if noise == 0:
        return math.inf
    return -math.inf if noise == math.inf else -10 * math.log10(noise)
