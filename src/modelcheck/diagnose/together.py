"""Errors that hide from cuts: what an engine fuses is right layer by layer, and wrong as one.

Where the outputs differ by more than the parts tell, parts are joined with those before them, more
and more of them, and run uncut. A faithful target gives what onnxruntime gives for the very same
piece, up to what its layers add; a broken fusion does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from modelcheck.diagnose.bench import NotRun
from modelcheck.diagnose.evidence import LayerEvidence, Origin, Part, noise_of, sqnr_of
from modelcheck.diagnose.measure import compare, effects_of
from modelcheck.diagnose.study import Study

# How many steps upstream a piece reaches: fused chains are short, squeeze-and-excite blocks longer.
_REACHES = (1, 2, 3, 4, 6, 8, 12)
# How many times as wrong as its layers a piece must be: roundings that meet never are.
_CLEARLY = 10.0
# A piece is an answer where it alone makes this share of the noise in the outputs.
_ENOUGH = 0.1


def find_together(
    study: Study,
    layers: Sequence[LayerEvidence],
    *,
    total: float,
    rounding: float,
    started: Callable[[str], None],
) -> list[LayerEvidence]:
    """The shortest pieces that explain noise over signal `total` in the outputs; [] for none."""
    own = {layer.part.index: layer.added for layer in layers}
    seen: set[tuple[int, ...]] = set()
    for reach in _REACHES:
        started(f"running {reach + 1} layers as one")
        pieces = []
        for part in study.parts:
            members = _upstream(study, part, reach)
            key = tuple(p.index for p in members)
            if len(members) > 1 and key not in seen:
                seen.add(key)
                pieces.append(members)
        wrong = _wrong(study, pieces, own, rounding)
        found = _with_effects(study, wrong)
        if any((piece.effect or 0.0) >= _ENOUGH * total for piece in found):
            return found
    return []


def _upstream(study: Study, part: Part, reach: int) -> list[Part]:
    """The part and those that lead to it in at most so many steps, in order."""
    by_output = {p.output: p for p in study.parts}
    members = {part.index: part}
    edge = [part]
    for _ in range(reach):
        edge = [by_output[n] for p in edge for n in p.inputs if n in by_output]
        members.update((p.index, p) for p in edge)
    return [members[i] for i in sorted(members)]


def _wrong(
    study: Study, pieces: Sequence[Sequence[Part]], own: dict[int, float], rounding: float
) -> list[LayerEvidence]:
    joined = {study.join(members): members for members in pieces}
    found = []
    for some in study.in_pieces(joined):
        values = study.reference_values(sorted({n for p in some for n in (p.output, *p.inputs)}))
        for part in some:
            members = joined[part]
            model, feeds = study.candidate_part(part), study.feeds(part, values)
            there = study.bench.on_target(model, feeds)
            right = study.bench.in_reference(model, feeds)
            if isinstance(there, NotRun) or isinstance(right, NotRun):
                continue
            added = compare(part.output, [a["output_0"] for a in right], there)
            total = compare(part.output, [v[part.output] for v in values], there)
            assert added is not None
            expected = max(rounding, *(own.get(p.index, 0.0) for p in members))
            if noise_of(sqnr_of(added)) > _CLEARLY * expected:
                names = tuple(p.name for p in members[:-1])
                evidence = LayerEvidence(
                    part, total, Origin.TARGET, together=names, added=noise_of(sqnr_of(added))
                )
                found.append(evidence)
    return found


def _with_effects(study: Study, wrong: Sequence[LayerEvidence]) -> list[LayerEvidence]:
    """Those pieces with what they do to the outputs, and whether the original has the error too."""
    effects = effects_of(
        study,
        [piece.part for piece in wrong],
        lambda part, feeds: study.bench.on_target(study.candidate_part(part), feeds),
    )
    found = [replace(piece, effect=effects.get(piece.part.index)) for piece in wrong]
    return found if study.alone else [_with_origin(study, piece) for piece in found]


def _with_origin(study: Study, piece: LayerEvidence) -> LayerEvidence:
    part = piece.part
    values = study.reference_values([part.output, *part.inputs])
    answers = study.bench.on_target(study.original_part(part), study.feeds(part, values))
    original = compare(part.output, [v[part.output] for v in values], answers)
    already = original is not None and noise_of(sqnr_of(original)) >= piece.noise / 4
    return replace(piece, origin=Origin.TARGET if already else Origin.FORM)
