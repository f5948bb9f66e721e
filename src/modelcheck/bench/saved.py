"""A measurement as a file: versioned plain values, written whole or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from modelcheck.bench.baseline import SCHEMA_NAME, SCHEMA_VERSION, Baseline, find_differences
from modelcheck.bench.machine import fingerprint
from modelcheck.bench.plan import Bench, Comparison, Row
from modelcheck.errors import UsageError, printable
from modelcheck.judge.quantiles import CONFIDENCE, Bounded
from modelcheck.model.atomic import atomic_write, check_output, check_writable


def check_save_path(path: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError or OutputNotWritten before the work, where the file cannot be written.

    An earlier file of the same name is replaced, an input never.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(
            f"a measurement is saved as .json, not as '{printable(path.suffix)}'",
            where=printable(str(path)),
            remedy="Name it for example bench.json.",
        )
    check_output(path, inputs, force=True)
    check_writable(path)


def save(document: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def to_document(
    result: Bench,
    *,
    command: str,
    baseline: Baseline | None = None,
    compared: Iterable[Comparison] = (),
) -> dict[str, Any]:
    """Plain values for json.dumps(..., allow_nan=False); an open bound is null.

    `compared` is the comparison with `baseline`, where there is one.
    """
    return {
        "schema": f"{SCHEMA_NAME}/{SCHEMA_VERSION}",
        "modelcheck": metadata.version("modelcheck"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": result.plan.seed,
        "budget_s": result.plan.budget_s,
        "confidence": CONFIDENCE,
        "machine": fingerprint(),
        "rows": [_row(row) for row in result.rows],
        "between_models": [_comparison(c) for c in result.between_models()],
        "between_targets": [_comparison(c) for c in result.between_targets()],
        "baseline": {
            "file": Path(baseline.name).name,
            "evidence": "another session: weaker than processes that took turns",
            "differences": find_differences(baseline, result.rows),
            "rows": [_comparison(c) for c in compared],
        }
        if baseline is not None
        else None,
        "seconds": result.seconds,
    }


def _row(row: Row) -> dict[str, Any]:
    subject = row.subject
    head = {
        "model": {"label": subject.label, "digest": subject.model.digest},
        "inputs": {name: list(array.shape) for name, array in subject.samples[0].items()},
        "data": {"origin": subject.origin, "synthetic": subject.synthetic},
        "target": row.target.name,
        "optional": row.target.optional,
        "opencv": None if row.opencv is None else dataclasses.asdict(row.opencv),
        "placement": None if row.placement is None else dataclasses.asdict(row.placement),
        "failure": row.failure,
        "processes": [_process(p) for p in row.processes],
    }
    if not row.measured:
        return head
    return head | {
        "runs": row.runs,
        "latency_s": {name: _bounded(found) for name, found in row.latency_s.items()},
        "samples_per_s": row.samples_per_s,
        "cpu_wall": row.cpu_wall,
        "load_s": _bounded(row.load_s),
        "first_s": _bounded(row.first_s),
        "peak_bytes": row.peak_bytes,
        "added_bytes": row.added_bytes,
        "noisy": row.noisy,
    }


def _process(process: Any) -> dict[str, Any]:
    return {
        "p50_s": process.p50_s,
        "runs": len(process.latencies_s),
        **{
            f.name: getattr(process, f.name)
            for f in dataclasses.fields(process)
            if f.name != "blocks_s"
        },
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "row": comparison.row,
        "other": comparison.other,
        "speedup": _bounded(comparison.speedup),
    }


def _bounded(found: Bounded) -> dict[str, float | None]:
    return {
        "value": found.value,
        "low": found.low if math.isfinite(found.low) else None,
        "high": found.high if math.isfinite(found.high) else None,
    }
