"""Checks that run models again on the kept samples: repeats, batches, threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcheck import units
from modelcheck.errors import ContainedFailure, OutOfMemory, Unsupported, printable
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.reference import Reference
from modelcheck.targets.pool import PoolSettings
from modelcheck.verification.equivalence import KEPT_SAMPLES, Kept, aligned, scale_relative
from modelcheck.verification.lane import Arrays, Lane

_NETS, _SERVED = 4, 2  # nets that run at the same time, and the samples of each
# Rows of a batch are the same sums in another order; a quantized net may round a few the other way.
_BATCHES = (2, KEPT_SAMPLES)
_BATCH_SQNR_DB = 40.0
# OpenCV's CUDA code was seen to go wrong once in dozens of runs: a layer on the CPU that did not
# wait for the GPU (dtln_2, docs/cuda.md).
_REPEATS_OF_UNSTEADY = 8


def check_repeatable(lane: Lane, kept: Sequence[Kept]) -> Check | None:
    """Same input, same output: without it no other check means anything. None when it holds.

    To the last bit where the device computes so; where it does not, several times.
    """
    steady = not lane.settings.target.device.unsteadiness
    for one in kept[:1] if steady else _REPEATS_OF_UNSTEADY * tuple(kept):
        answers = lane.forward(one.arrays)
        if answers is None:
            return None  # the lane has failed, and says so itself
        found = _unrepeated(lane, one, answers)
        if found is not None:
            return found
    return None


def _unrepeated(lane: Lane, one: Kept, answers: tuple[Arrays, Arrays | None]) -> Check | None:
    """The check that fails where a model answers a kept sample otherwise than before."""
    target = lane.settings.target
    before = (one.original, one.candidate)
    for who, old, new in zip(("original", "candidate"), before, answers, strict=True):
        if old is None or new is None:
            continue
        apart = _apart(old, aligned(new, one.expected))
        if not apart <= target.device.unsteadiness:
            return Check(
                "repeatable",
                target.name,
                Outcome.INCONCLUSIVE,
                f"{target.name}: the {who} gives different outputs for the same "
                f"input (by {units.scientific(apart)} of the scale). Nothing can be judged there; "
                "remove random operators, or report it to OpenCV.",
                Blame.TARGET if who == "original" else Blame.TRANSFORM,
                optional=target.optional,
            )
    return None


def _apart(first: Arrays, second: Arrays) -> float:
    """How far two runs lie apart, of the scale: 0 for equal bits, NaN where nobody can say."""
    if all(np.array_equal(first[name], second[name], equal_nan=True) for name in first):
        return 0.0
    return scale_relative(first, second)


def check_batch(lane: Lane, reference: Reference, kept: Sequence[Kept]) -> Check | None:
    """Rows of a batch of 2 and of 8 equal single rows, for a model whose batch is free.

    None where the model itself ties its batch: onnxruntime refuses the batch, or gives rows that
    differ from the single ones.
    """
    kept = _filled_up(lane, reference, kept)
    found = None
    for n in _BATCHES:
        found = _check_batch_of(lane, reference, kept[:n])
        if found is None or found.outcome is not Outcome.PASS:
            break
    return found


def _check_batch_of(lane: Lane, reference: Reference, kept: Sequence[Kept]) -> Check | None:
    batch = _stack([k.arrays for k in kept])
    single = _stack([k.expected for k in kept])
    try:
        expected = reference.run(batch)
    except (Unsupported, ContainedFailure):
        return None
    if not lane.alive or not scale_relative(single, expected) < 1e-3:
        return None
    target, n = lane.settings.target, len(kept)
    answers = lane.forward(batch, circumstance=f" at N={n}")
    if answers is None:
        return None
    fault = _differing_rows(_stack([k.original for k in kept]), aligned(answers[0], expected))
    who, blame = "original", Blame.TARGET
    if answers[1] is not None:
        rows = _stack([k.candidate for k in kept if k.candidate is not None])
        blame = Blame.TARGET if fault else Blame.TRANSFORM
        who, fault = "candidate", _differing_rows(rows, aligned(answers[1], expected))
    if fault is None:
        message = f"{target.name}: rows of a batch of {n} equal single rows."
        return Check("batch", target.name, Outcome.PASS, message, optional=target.optional)
    return Check(
        "batch",
        target.name,
        Outcome.FAIL,
        f"{target.name}: the {who} at N={n} does not give what it gives at N=1: {fault}. "
        "Fix the model's batch to 1, or run it one sample at a time there.",
        blame,
        optional=target.optional,
    )


def check_concurrent(lane: Lane, kept: Sequence[Kept]) -> Check:
    """Several nets in as many threads give, to the last bit, what one net alone gives.

    (Where the device computes to the last bit.) So programs run models that serve more than one
    request at a time. Where already the original does not, the target is to blame.
    """
    target = lane.settings.target
    first = {name: array.shape for name, array in kept[0].arrays.items()}
    alike = [k.arrays for k in kept if {n: a.shape for n, a in k.arrays.items()} == first]
    samples = alike[:_SERVED]
    try:
        fault = _concurrency_fault(lane, samples, candidate=lane.candidate is not None)
    except OutOfMemory as error:  # says something of the machine, and nothing of the model
        message = f"{target.name}: {_NETS} nets at a time were not tried: {error.what}."
        return Check("concurrent", target.name, Outcome.INCONCLUSIVE, message, optional=True)
    if fault is None:
        rounds = target.device.unsteadiness > 0
        same = "what one gives, up to rounding" if rounds else "the same bits as one"
        message = f"{target.name}: {_NETS} nets in {_NETS} threads give {same}."
        return Check("concurrent", target.name, Outcome.PASS, message, optional=target.optional)
    who, outcome, blame = "original", Outcome.UNSUPPORTED, Blame.TARGET
    if lane.candidate is not None:
        before = _concurrency_fault(lane, samples, candidate=False)
        if before is None:
            who, outcome, blame = "candidate", Outcome.FAIL, Blame.TRANSFORM
        fault = before or fault
    return Check(
        "concurrent",
        target.name,
        outcome,
        f"{target.name}: {_NETS} nets of the {who} in {_NETS} threads are not as good as one: "
        f"{fault}. Run one net at a time there, or each in a process of its own.",
        blame,
        optional=target.optional,
    )


def _concurrency_fault(lane: Lane, samples: Sequence[Arrays], *, candidate: bool) -> str | None:
    """What is wrong when nets of one model run at the same time, or None."""
    session = lane.candidate if candidate else lane.original
    path = lane.files.candidate if candidate else lane.files.original
    assert session is not None
    assert path is not None
    target = lane.settings.target
    try:
        alone = [session.forward(arrays) for arrays in samples]
        session.keep_samples(samples)
        pool = PoolSettings(target.engine, target.threads, nets=_NETS)
        session.load_pool(path, lane.files.outputs, pool)
        run = session.run_pool(len(samples))
        session.unload_pool()
    except OutOfMemory:
        raise
    except (Unsupported, ContainedFailure) as error:
        return error.what
    for difference in run.differing:
        apart = "" if difference.apart < 0 else f" (by {units.scientific(difference.apart)})"
        output = printable(difference.output)
        return f"net {difference.net + 1} gives other bits in '{output}'{apart}"
    for serial, together in zip(alone, run.outputs, strict=True):
        for name, array in serial.items():
            apart_by = _apart({name: array}, together)
            if not apart_by <= target.device.unsteadiness:
                return f"'{printable(name)}' has other bits (by {units.scientific(apart_by)})"
    return None


def _filled_up(lane: Lane, reference: Reference, kept: Sequence[Kept]) -> list[Kept]:
    """Eight rows that differ: with few samples, shifted copies of them serve as well."""
    rows = list(kept)
    while lane.alive and len(rows) < KEPT_SAMPLES:
        source, shift = kept[len(rows) % len(kept)].arrays, len(rows) // len(kept)
        arrays = {name: np.roll(array, shift, axis=-1) for name, array in source.items()}
        expected, answers = reference.run(arrays), lane.forward(arrays)
        if answers is not None:
            original, candidate = (None if a is None else aligned(a, expected) for a in answers)
            assert original is not None
            rows.append(Kept(arrays, expected, original, candidate))
    return rows


def _stack(samples: Sequence[Arrays]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}


def _differing_rows(single: Arrays, batch: Arrays) -> str | None:
    """What is wrong with a batch's outputs, or None."""
    for name, rows in single.items():
        if name not in batch or batch[name].shape != rows.shape:
            got = batch[name].shape if name in batch else "nothing"
            return f"output '{name}' has the shape {got} instead of {rows.shape}"
        noise = float(np.square(batch[name].astype(np.float64) - rows).sum())
        signal = float(np.square(rows.astype(np.float64)).sum())
        if noise and not (signal / noise >= 10 ** (_BATCH_SQNR_DB / 10)):
            db = 10 * np.log10(signal / noise) if signal else -np.inf
            return f"output '{name}' differs by {units.decibels(float(db))} SQNR"
    return None
