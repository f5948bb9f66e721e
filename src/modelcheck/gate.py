"""From files to a verdict: what `apply`, `verify` and the pytest plugin all do.

    recipe + files ─► original, samples ─► steps ─► candidate ─► verification

Every function takes `emit`, which receives the events of the stages for a progress display.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from modelcheck.data import Samples, SplitSamples, open_samples, split
from modelcheck.errors import UsageError
from modelcheck.judge.absolute import Band
from modelcheck.model import Model, load
from modelcheck.model.inspection import Inspection, inspect
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import Candidate, DataSettings, Recipe, apply_steps
from modelcheck.reference import Reference, ReferenceActivations
from modelcheck.transforms import Activations, Claim, Context, Transform
from modelcheck.verification import (
    Event,
    Plan,
    Progressed,
    StageStarted,
    Verification,
    Verified,
    verify,
)
from modelcheck.verification.kept_inputs import FOLDER
from modelcheck.verification.memory import Memory

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Inputs:
    """The original and the samples, split into those that calibrate and those that are judged."""

    original: Model
    data: SplitSamples


def silent(event: Event) -> None:
    """Shows nothing."""


def load_model(path: Path, *, candidate: bool = False) -> Model:
    """Load a model; a candidate may hold NaN, which is then the judge's finding."""
    return load(path, allow_non_finite=candidate)


def files_of(model: Model) -> list[Path]:
    """The files that a loaded model came from: its own, and those of its external data."""
    source = model.source
    return [] if source is None else [source.path, *(data.path for data in source.data)]


def open_inputs(original: Model, recipe: Recipe, *, emit: Emit = silent) -> Inputs:
    """Open the samples for a model and split off what calibration needs."""
    needs_calibration = any(step.calibrates for step in recipe.steps)
    samples, calibration = open_sets(original, recipe, emit=emit)
    return Inputs(
        original,
        split(
            samples,
            calibration,
            needs_calibration,
            allow_synthetic=recipe.data.allow_synthetic,
        ),
    )


def open_sets(
    original: Model, recipe: Recipe, *, emit: Emit = silent
) -> tuple[Samples, Samples | None]:
    """The samples for a model, and those that are for calibration only; whole, as they are."""
    settings = recipe.data
    samples = _open(settings.path, original, settings, recipe.seed, settings.count)
    emit(StageStarted("reading samples", samples.count))
    if settings.calibration is None:
        return samples, None
    return samples, _open(settings.calibration, original, settings, recipe.seed, None)


def make_candidate(
    original: Model,
    inputs: Inputs | None,
    recipe: Recipe,
    *,
    limits: ChildLimits | None = None,
    emit: Emit = silent,
) -> Candidate:
    """Apply the recipe's steps to the original; only steps that calibrate need inputs."""

    def on_step(number: int, transform: Transform) -> None:
        emit(StageStarted(f"step {number} {transform.name}", 100))

    with ExitStack() as stack:
        activations = None
        if inputs is not None and any(step.calibrates for step in recipe.steps):
            activations = _activations(inputs.data.calibration, stack, limits)
        return apply_steps(
            original,
            recipe.steps,
            seed=recipe.seed,
            activations=activations,
            on_step=on_step,
            on_progress=lambda fraction: emit(Progressed(round(100 * fraction))),
        )


@contextmanager
def calibrated(
    samples: Samples, *, seed: int = 0, limits: ChildLimits | None = None
) -> Iterator[Context]:
    """What a transform that calibrates is given besides the model, for as long as the block lasts.

    with calibrated(samples) as context:
        int8 = chain(fold_batchnorm(), equalize(), quantize())(model, context)
    """
    with ExitStack() as stack:
        yield Context(seed=seed, activations=_activations(samples, stack, limits))


def judge(
    inputs: Inputs,
    candidate: Model | None,
    claim: Claim,
    recipe: Recipe,
    *,
    limits: ChildLimits | None = None,
    bands: Mapping[str, Band] = MappingProxyType({}),
    emit: Emit = silent,
) -> Verification:
    """Verify a candidate, or the original alone, on every target of the recipe.

    `bands`: the original's latencies in earlier runs, by target (see Plan).
    """
    judging = recipe.judging
    required = any(t.limits.limits_speed() for t in recipe.targets)
    if not judging.equivalence and not required:
        raise UsageError(
            "speed alone shall be judged, and there is no speed limit",
            where="checks",
            remedy="Give --min-speedup, --max-slowdown or a budget such as --max-p99, or judge "
            "equivalence too.",
        )
    if not judging.equivalence and any(t.limits.inputs_to_search() for t in recipe.targets):
        raise UsageError(
            "worst inputs shall be searched, and equivalence is not judged",
            where="checks",
            remedy="Judge equivalence too, or leave --search-inputs and --max-worst-error out.",
        )
    plan = Plan(
        original=inputs.original,
        candidate=candidate,
        samples=inputs.data.judged,
        targets=recipe.targets,
        claim=recipe.judging.claim or claim,
        judging=recipe.judging,
        seed=recipe.seed,
        child_limits=limits or ChildLimits(),
        memory=Memory.of_user(),
        bands=bands,
        worst_folder=FOLDER,
    )
    result: Verification | None = None
    for event in verify(plan):
        emit(event)
        if isinstance(event, Verified):
            result = event.result
    assert result is not None
    inputs.original.check_unchanged()
    return result


def without_steps(recipe: Recipe) -> tuple[Recipe, int]:
    """The recipe as a policy, and how many steps were left out."""
    return replace(recipe, steps=()), len(recipe.steps)


def default_claim(recipe: Recipe, *, alone: bool = False) -> Claim:
    """What a pair made elsewhere must be, if nobody says: exact.

    With a declared equivalence limit or metric that decides, as for a lossy transform, unless it
    is max-error=auto, which is what exact means. A speed limit changes nothing. A model alone is
    its own original, and nothing was lost in making it.
    """
    limits = [target.limits for target in recipe.targets]
    undeclared = any(each.equivalence is None and not each.metrics for each in limits)
    less = any(
        bool(each.metrics) if each.equivalence is None else not each.equivalence.exact
        for each in limits
    )
    return Claim.LOSSY if less and not undeclared and not alone else Claim.EXACT


def inspect_model(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Inspection:
    """What the model is made of; shapes are inferred in a child process, at N = 1."""
    single = {
        spec.name: (1, *spec.shape[1:])
        for spec in model.signature.inputs
        if spec.shape and spec.batch_is_free and None not in spec.shape[1:]
    }
    with Reference() as reference:
        inferred = reference.shapes(model, {**single, **shapes})  # type: ignore[dict-item]
    return inspect(model, inferred)


def _open(
    path: Path | None, model: Model, settings: DataSettings, seed: int, count: int | None
) -> Samples:
    return open_samples(
        path,
        model.signature,
        preprocessing=settings.preprocessing,
        shapes=settings.shapes,
        count=count,
        seed=seed,
    )


def _activations(
    samples: Samples | None, stack: ExitStack, limits: ChildLimits | None
) -> Activations | None:
    if samples is None:
        return None
    # Nothing else runs while a step calibrates, so it may have every core.
    import os

    reference = stack.enter_context(Reference(threads=os.cpu_count() or 1, limits=limits))
    return ReferenceActivations(reference, samples, stack.enter_context(Workspace()))
