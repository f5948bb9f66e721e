"""The identity and every transform on the models of ../shared/models, on cv2's CPU engines.

    python benchmarks/real_models.py                 # all models; writes docs/real-models.md
    python benchmarks/real_models.py yolox_nano      # some; prints only

tests/real_models runs the same rows and asserts what has to hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from modelcheck import gate, units
from modelcheck.errors import ModelcheckError
from modelcheck.judge import EquivalenceEvidence, Outcome
from modelcheck.process import ChildLimits
from modelcheck.recipe import CheckKind, Judging, Recipe, TargetSettings, parse_step
from modelcheck.targets import Target
from modelcheck.verification import TargetResult
from zoo import ZooModel, available, zoo

ENGINES = ("new", "classic")
IDENTITY = "identity"
STEPS = (
    IDENTITY,
    "fold-batchnorm",
    "sparsify:pattern=2:4,amount=0.5",
    "prune-weights:amount=0.5",
    "quantize:form=qdq",
    "quantize:form=qoperator",
    "quantize-weights",
    "fp16:scope=weights",
    "fp16:scope=model",
)
# 24 samples: 8 calibrate, and 16 are what SQNR wants at the least.
_COUNT, _JUDGED = 24, 16
_LIMITS = ChildLimits(request_s=60.0)
_PAGE = Path(__file__).resolve().parents[1] / "docs" / "real-models.md"


@dataclass(frozen=True)
class Row:
    """What one step on one model gave on one engine."""

    model: str
    step: str
    engine: str
    outcome: str
    blame: str
    sqnr: str
    message: str
    change: str


def run_model(model: ZooModel, folder: Path) -> Iterator[Row]:
    """Every step on one model, each verified on both engines."""
    recipe = Recipe(
        data=model.data(folder, _COUNT),
        targets=tuple(TargetSettings(Target.parse(f"cpu:{e}:threads=1")) for e in ENGINES),
        judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
        seed=0,
    )
    original = model.load()
    for step in STEPS:
        yield from _run_step(model, original, step, recipe)


def _run_step(model: ZooModel, original: gate.Model, step: str, recipe: Recipe) -> Iterator[Row]:
    change = ""
    try:
        steps = () if step == IDENTITY else (parse_step(step),)
        wanted = _COUNT if any(step.calibrates for step in steps) else _JUDGED
        data = replace(
            recipe.data,
            allow_synthetic=recipe.data.path is None,
            count=min(wanted, recipe.data.count or wanted),
        )
        recipe = replace(recipe, steps=steps, data=data)
        inputs = gate.open_inputs(original, recipe)
        candidate, claim = None, gate.default_claim(recipe, alone=True)
        if steps:
            made = gate.make_candidate(original, inputs, recipe, limits=_LIMITS)
            candidate, claim = made.model, made.claim
            change = made.steps[0].change.summary()
        result = gate.judge(inputs, candidate, claim, recipe, limits=_LIMITS)
    except ModelcheckError as error:
        for engine in ENGINES:
            yield Row(
                model.name, step, engine, f"error {error.exit_code}", "", "", str(error), change
            )
        return
    for engine, target in zip(ENGINES, result.targets, strict=True):
        yield _row(model, step, engine, target, change)


def _row(model: ZooModel, step: str, engine: str, target: TargetResult, change: str) -> Row:
    worst = next((c for c in target.checks if c.outcome is target.outcome), None)
    return Row(
        model.name,
        step,
        engine,
        target.outcome.value,
        "" if worst is None else worst.blame.value,
        _sqnr(target.equivalence),
        "" if worst is None else worst.message,
        change,
    )


def _sqnr(evidence: EquivalenceEvidence | None) -> str:
    if evidence is None or not evidence.total.outputs:
        return ""
    return units.decibels(min(o.sqnr_db for o in evidence.total.outputs))


def objections(model: ZooModel, rows: list[Row]) -> list[str]:
    """What must hold of the rows of one model and does not.

    The identity passes where models.toml says that the engine runs the model, and is blamed on
    the target elsewhere; so is every candidate of a model that the target cannot run; an exact
    step passes where the identity does; nothing ends without a reason.
    """
    found = []
    identity = {row.engine: row for row in rows if row.step == IDENTITY}
    for row in rows:
        alone = identity[row.engine]
        runs = model.expected(row.engine) == "ok"
        holds = bool(row.message)
        if row.step == IDENTITY:
            holds &= row.outcome == "PASS" if runs else row.outcome == "UNSUPPORTED"
        if row.step == "fold-batchnorm":
            holds &= row.outcome == alone.outcome
        if row.outcome.startswith("error"):
            holds &= row.outcome in {"error 3", "error 4"}
        elif alone.outcome == "UNSUPPORTED":
            holds &= (row.outcome, row.blame) == ("UNSUPPORTED", "target")
        if not holds:
            found.append(f"{row.model} {row.step} {row.engine}: {row.outcome} {row.message}")
    return found


def render(rows: list[Row], seconds: float) -> str:
    """docs/real-models.md: a table of verdicts, and the reason of every one that is not a pass."""
    by_model: dict[str, dict[tuple[str, str], Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.step, row.engine] = row
    lines = [
        "# Real models",
        "",
        "What the identity and each transform give on trained models from public repositories, as",
        "cv2.dnn 5.0 runs them, one thread, on its two engines (new / classic), judged against",
        "onnxruntime float32 with the default limits on 16 samples, fewer where there are no more.",
        f"Made by `python benchmarks/real_models.py` in {units.duration(seconds)} on 2 cores.",
        "",
        "P pass, **F** fail, U unsupported, I inconclusive, E the step refused; with the worst",
        "output's SQNR where the step is not exact. `identity` is the original by itself.",
        "",
        "| model | " + " | ".join(f"`{step}`" for step in STEPS) + " |",
        "|---" * (len(STEPS) + 1) + "|",
    ]
    for model, cells in by_model.items():
        shown = (" / ".join(_cell(cells[step, e]) for e in ENGINES) for step in STEPS)
        lines.append(f"| {model} | " + " | ".join(shown) + " |")
    lines += ["", *_counts(rows), "", "## Why not", ""]
    for model, cells in by_model.items():
        lines += _reasons(model, list(cells.values()))
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    letter = {"PASS": "P", "FAIL": "**F**", "UNSUPPORTED": "U", "INCONCLUSIVE": "I"}.get(
        row.outcome, "E"
    )
    exact = row.step in (IDENTITY, "fold-batchnorm") and row.outcome == "PASS"
    return letter if exact or not row.sqnr else f"{letter} {row.sqnr.removesuffix(' dB')}"


def _counts(rows: list[Row]) -> Iterator[str]:
    yield "| step | engine | " + " | ".join(o.value for o in Outcome) + " | refused |"
    yield "|---|---|---|---|---|---|---|"
    for step in STEPS:
        for engine in ENGINES:
            outcomes = [r.outcome for r in rows if (r.step, r.engine) == (step, engine)]
            counts = [outcomes.count(o.value) for o in Outcome]
            refused = len(outcomes) - sum(counts)
            yield f"| `{step}` | {engine} | " + " | ".join(map(str, [*counts, refused])) + " |"


def _reasons(model: str, rows: list[Row]) -> Iterator[str]:
    """Each reason once, with the steps and engines that it holds for."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.outcome != "PASS":
            blame = f" ({row.blame})" if row.blame not in ("", "none") else ""
            text = (
                " ".join(row.message.split())
                .replace(", 1 thread", "")
                .replace(f"cpu {row.engine}: ", "")
            )
            text = text.replace(f"cpu {row.engine}, ", "").replace("|", "\\|")[:260]
            reasons.setdefault(f"{row.outcome}{blame}: {text}", []).append(
                f"`{row.step}` {row.engine}"
            )
    if reasons:
        yield f"**{model}**"
        yield ""
        for reason, where in reasons.items():
            yield f"- {', '.join(where)}: {reason}"
        yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names of models; default: all")
    names = parser.parse_args().models
    if not available():
        print("skipped: ../shared/models is absent")
        return 0
    start_s = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in zoo():
            if names and model.name not in names:
                continue
            model_start_s = time.monotonic()
            of_model = list(run_model(model, Path(folder)))
            rows += of_model
            for objection in objections(model, of_model):
                print(f"MUST NOT BE: {objection}", file=sys.stderr, flush=True)
            if not names:  # an interrupted run leaves what it has
                _PAGE.write_text(render(rows, time.monotonic() - start_s), encoding="utf-8")
            taken = units.duration(time.monotonic() - model_start_s)
            print(f"{model.name}: {taken}", file=sys.stderr, flush=True)
    if names:
        print(render(rows, time.monotonic() - start_s))
    else:
        print(f"wrote docs/{_PAGE.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
