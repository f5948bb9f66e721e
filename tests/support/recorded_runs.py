"""Runs as the ledger holds them, made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelcheck.judge import Outcome
from modelcheck.ledger import OutputFigures, Run, Verdict

MACHINE = {
    "processor": "Example CPU", "cores": "8", "features": "avx2 fma", "system": "Linux x86_64",
    "kernel": "6.1.0", "governor": "performance",
}  # fmt: skip
VERDICT = Verdict(
    target="cpu new",
    outcome=Outcome.PASS,
    optional=False,
    findings="",
    limits="speed-up >= 1.50x",
    ran_on="cpu new",
    opencv="5.0.0",
    opencv_build="b1" * 32,
    speedup=2.0,
    speedup_low=1.9,
    speedup_high=2.1,
    original_s=0.010,
    latency_s=0.005,
    outputs=(OutputFigures("logits", 30.0, 0.01, 0.99, 0.985, 0.994),),
)
RUN = Run(
    created="2026-11-20T10:00:00+00:00",
    kind="apply",
    model="net.int8.onnx",
    outcome=Outcome.PASS,
    judges_equivalence=True,
    original="net.onnx",
    original_digest="0a" * 32,
    original_bytes=4_000_000,
    candidate_digest="ca" * 32,
    candidate_bytes=1_000_000,
    data="images/ (500 images)",
    data_digest="da" * 32,
    data_samples=500,
    recipe='quantize form="qdq"',
    options="claim lossy, checks equivalence+speed",
    baseline="same",
    seed="0",
    command="modelcheck apply net.onnx --recipe edge.toml -o net.int8.onnx --verify --seed 0",
    commit="c0" * 20,
    modelcheck="0.1.0",
    machine=MACHINE,
    seconds=12.5,
    verdicts=(VERDICT,),
)


def verdict(sqnr_db: float | None = None, **changes: Any) -> Verdict:
    """VERDICT with some fields changed; `sqnr_db` is that of its output."""
    made = replace(VERDICT, **changes)
    if sqnr_db is None:
        return made
    return replace(made, outputs=(replace(made.outputs[0], sqnr_db=sqnr_db),))


def run(*verdicts: Verdict, **changes: Any) -> Run:
    """RUN with other verdicts, and some fields changed."""
    return replace(RUN, **({"verdicts": verdicts} if verdicts else {}), **changes)
