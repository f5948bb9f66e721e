"""The Report: one value that screen, JSON and JUnit are made of, and that a release is held to."""

from __future__ import annotations

import datetime
import math
import os
import platform
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from modelcheck.data import SplitSamples
from modelcheck.judge import Outcome, exit_code
from modelcheck.judge.absolute import BudgetEvidence
from modelcheck.judge.budgets import is_speed
from modelcheck.judge.metrics import MetricEvidence
from modelcheck.model import Model, wire
from modelcheck.process.machine import processor
from modelcheck.recipe import Candidate, CheckKind, Recipe, Step
from modelcheck.verification import KnownFault, TargetResult, Verification

SCHEMA = "modelcheck.report/1"
_LIBRARIES = ("onnx", "onnx-ir", "onnxruntime", "numpy", "scipy")


@dataclass(frozen=True)
class ModelFacts:
    """What identifies a model, and how large it is."""

    name: str
    digest: str
    parameters: int
    file_bytes: int
    gzip_bytes: int


@dataclass(frozen=True)
class Report:
    """Everything that one run of apply or verify found out."""

    verification: Verification
    original: ModelFacts
    candidate: ModelFacts | None
    steps: Candidate | None
    data: SplitSamples
    recipe: Recipe
    command: str
    created: str
    seconds: float
    # For each target, how often this pair was judged there before, by outcome.
    earlier: Mapping[str, Mapping[Outcome, int]] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        return self.verification.outcome

    @property
    def exit_code(self) -> int:
        return exit_code(self.outcome)

    @property
    def judged(self) -> tuple[str, ...]:
        """The kinds of checks that this run judged."""
        kinds = {check.kind for check in self.verification.checks}
        judged = [CheckKind.EQUIVALENCE] if self.verification.judges_equivalence else []
        return tuple(judged + ([CheckKind.SPEED] if any(map(is_speed, kinds)) else []))

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps(..., allow_nan=False): no NaN literal."""
        verification = self.verification
        return {
            "schema": SCHEMA,
            "modelcheck": metadata.version("modelcheck"),
            "created": self.created,
            "command": self.command,
            "outcome": self.outcome.value,
            "exit_code": self.exit_code,
            "judged": list(self.judged),
            "claim": verification.plan.claim.value,
            "seed": self.recipe.seed,
            "original": plain(self.original),
            "candidate": plain(self.candidate),
            "steps": [_step(step) for step in (self.steps.steps if self.steps else ())],
            "data": {
                "origin": self.data.judged.origin,
                "digest": self.data.judged.digest,
                "judged": self.data.judged.count,
                "calibration": 0 if self.data.calibration is None else self.data.calibration.count,
                "dropped": self.data.dropped,
                "synthetic": self.data.judged.synthetic,
            },
            "recipe": {
                "file": None if self.recipe.file is None else self.recipe.file.name,
                "limits": [t.limits.describe() for t in self.recipe.targets],
            },
            "targets": [
                _target(t) | {"earlier_runs": plain(self.earlier.get(t.settings.target.name, {}))}
                for t in verification.targets
            ],
            "warnings": list(verification.warnings),
            "machine": machine(),
            "versions": {name: metadata.version(name) for name in _LIBRARIES},
            "seconds": self.seconds,
        }


def make_report(
    verification: Verification,
    *,
    steps: Candidate | None,
    data: SplitSamples,
    recipe: Recipe,
    command: str,
    seconds: float,
    earlier: Mapping[str, Mapping[Outcome, int]] = MappingProxyType({}),
) -> Report:
    """Gather the facts of one run; compresses the models to measure them."""
    plan = verification.plan
    models = [model for model in (plan.original, plan.candidate) if model is not None]
    with ThreadPoolExecutor(max_workers=len(models)) as pool:  # zlib leaves the lock to others
        original, *candidate = pool.map(model_facts, models)
    return Report(
        verification=verification,
        original=original,
        candidate=candidate[0] if candidate else None,
        steps=steps,
        data=data,
        recipe=recipe,
        command=command,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        earlier=earlier,
    )


def model_facts(model: Model) -> ModelFacts:
    """Identity and sizes; the file is compressed as `gzip -1` would."""
    counter = _Counter()
    wire.join(model.skeleton, model.payloads, counter.write)
    return ModelFacts(
        model.name, model.digest, model.parameters, counter.bytes, counter.compressed_bytes()
    )


def machine() -> dict[str, Any]:
    """What a timing depends on, as far as it can be told."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def plain(value: Any) -> Any:
    """Dataclasses, enums, mappings and numbers as JSON values; infinities as text, NaN as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(v) for v in value]
        return sorted(items, key=str) if isinstance(value, (set, frozenset)) else items
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Path):
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "options": plain(step.transform.options),
        "claim": step.transform.claim.value,
        "change": plain(step.change),
        "left_alone": plain(step.left_alone),
        "model_bytes": step.model_bytes,
        "seconds": step.seconds,
    }


def _target(target: TargetResult) -> dict[str, Any]:
    settings = target.settings
    return {
        "name": settings.target.name,
        "target": plain(settings.target),
        "limits": settings.limits.describe(),
        "outcome": target.outcome.value,
        "opencv": plain(target.opencv),
        "ran_on": {"original": plain(target.original), "candidate": plain(target.candidate)},
        "checks": [
            {
                "kind": check.kind,
                "outcome": check.outcome.value,
                "blame": check.blame.value,
                "message": check.message,
                "optional": check.optional,
            }
            for check in target.checks
        ],
        "known_faults": [_known(fault) for fault in target.known],
        "equivalence": plain(target.equivalence),
        "metrics": [
            plain(check.evidence)
            for check in target.checks
            if isinstance(check.evidence, MetricEvidence)
        ],
        "speed": plain(target.speed),
        "budgets": [
            plain(c.evidence) for c in target.checks if isinstance(c.evidence, BudgetEvidence)
        ],
        "worst_case": plain(target.worst_case),
        "native_log": target.native_log,
    }


def _known(fault: KnownFault) -> dict[str, Any]:
    pattern = fault.finding.pattern
    return {
        "id": pattern.id,
        "severity": pattern.severity.value,
        "models": list(fault.models),
        "nodes": list(fault.finding.nodes),
        "what": pattern.what,
        "when": pattern.when,
        "remedy": pattern.remedy,
        "measured": fault.column,
        "caveat": fault.caveat,
    }


class _Counter:
    """Counts bytes as they are and as gzip would leave them, keeping none."""

    def __init__(self) -> None:
        self.bytes = 0
        self._compressed = 0
        self._deflate = zlib.compressobj(1)

    def write(self, data: Any) -> None:
        self.bytes += len(data)
        self._compressed += len(self._deflate.compress(data))

    def compressed_bytes(self) -> int:
        return self._compressed + len(self._deflate.flush())
