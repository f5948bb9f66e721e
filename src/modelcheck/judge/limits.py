"""The limits a user can declare, and what holds where nothing is declared.

An equivalence limit is any-of of all-of: 'min-agreement=0.99|min-sqnr=40,max-error=0.1' holds
where the agreement does, or where both of the others do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from modelcheck import units
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.judge.budgets import Budget, check_consistent
from modelcheck.judge.metrics.spec import MetricSpec

# Exact: how far the candidate there may be from the float32 reference, scale-relative.
TOTAL_ERROR_FLOOR = 1e-4  # OpenCV dnn/test/test_common.hpp, max abs for float32
HALF_TOTAL_ERROR_FLOOR = 2e-2  # ... and for OPENCL_FP16, CUDA_FP16 and CPU_FP16
DEFAULT_MAX_FALLBACK = 0.2
_MOST_INPUTS = 1_000_000
DEFAULT_SEARCH_INPUTS = 500  # where max-worst-error asks for a search, and nobody says how long

NOISE_FLOOR = "noise-floor"  # the default of claim exact; typed as max-error=auto
AUTO = "auto"
MAX_ERROR, MIN_SQNR, MIN_AGREEMENT = "max-error", "min-sqnr", "min-agreement"
_TERMS = (MAX_ERROR, MIN_SQNR, MIN_AGREEMENT)
_EXAMPLE = "Write for example 'min-agreement=0.99|min-sqnr=25'."
_MAX_ERROR_EXAMPLE = "Write for example 0.01, or 'auto' for the model's own noise floor."
_FALLBACK_EXAMPLE = "Write for example 0.2 or '20%'."
_SLOWDOWN_EXAMPLE = "Write for example '3%'; for 'no slower at all', min-speedup 1."


@dataclass(frozen=True, slots=True)
class Term:
    """One inequality: max-error (scale-relative), min-sqnr (dB) or min-agreement (fraction)."""

    kind: str
    value: float

    def describe(self) -> str:
        """'SQNR >= 25 dB'."""
        if self.kind == MIN_SQNR:
            return f"SQNR >= {self.value:g} dB"
        if self.kind == MIN_AGREEMENT:
            return f"agreement >= {100 * self.value:g} %"
        if self.kind == MAX_ERROR:
            return f"max error <= {self.value:g} of the scale"
        return (
            "max error within the noise floor (max-error=auto), and from the reference within "
            f"{self.value:g} of the scale or the noise floor"
        )


@dataclass(frozen=True, slots=True)
class EquivalenceLimit:
    """Holds where every term of any one alternative does."""

    any_of: tuple[tuple[Term, ...], ...]
    default: bool = False

    @property
    def exact(self) -> bool:
        """Whether no candidate can meet it but one that only rounds: every way asks for auto."""
        return all(any(t.kind == NOISE_FLOOR for t in all_of) for all_of in self.any_of)

    def largest_error(self) -> float | None:
        """The smallest max-error that is declared as a number, if there is one."""
        declared = [t.value for all_of in self.any_of for t in all_of if t.kind == MAX_ERROR]
        return min(declared, default=None)

    def on_half_floats(self) -> EquivalenceLimit:
        """The same where the target computes in half floats, which strays from the reference."""
        return replace(
            self,
            any_of=tuple(
                tuple(
                    Term(NOISE_FLOOR, HALF_TOTAL_ERROR_FLOOR) if t.kind == NOISE_FLOOR else t
                    for t in all_of
                )
                for all_of in self.any_of
            ),
        )

    def describe(self) -> str:
        """'SQNR >= 25 dB or agreement >= 99 % (default)'."""
        text = " or ".join(
            " and ".join(term.describe() for term in all_of) for all_of in self.any_of
        )
        return f"{text} (default)" if self.default else text


_DEFAULTS = {
    "exact": ((Term(NOISE_FLOOR, TOTAL_ERROR_FLOOR),),),
    "precision": ((Term(MIN_SQNR, 40.0),),),
    "lossy": ((Term(MIN_SQNR, 25.0),), (Term(MIN_AGREEMENT, 0.99),)),
}
CLAIMS = tuple(_DEFAULTS)


def default_limit(claim: str, *, half_floats: bool = False) -> EquivalenceLimit:
    """What holds where nothing is declared; the claim is exact, precision or lossy.

    A target that computes in half floats may be farther from the float32 reference.
    """
    if claim not in _DEFAULTS:
        raise UsageError(
            f"unknown claim '{claim}'.",
            where="claim",
            remedy=did_you_mean(claim, CLAIMS) or f"The claims are {', '.join(CLAIMS)}.",
        )
    limit = EquivalenceLimit(_DEFAULTS[claim], default=True)
    return limit.on_half_floats() if half_floats else limit


def parse_limit(text: str) -> EquivalenceLimit:
    """'min-agreement=0.99|min-sqnr=25': '|' separates any-of, ',' all-of."""
    any_of = tuple(_parse_all_of(part, text) for part in text.split("|"))
    if len(any_of) > 1:
        _refuse_vain(any_of, text)
    return EquivalenceLimit(any_of)


def limit_of(
    *,
    min_agreement: float | None = None,
    min_sqnr: float | None = None,
    max_error: float | str | None = None,
) -> EquivalenceLimit | None:
    """One all-of from separate options: each that is given has to hold. None: none given.

    A max_error in text is a number or 'auto', the noise floor.
    """
    given = {MIN_AGREEMENT: min_agreement, MIN_SQNR: min_sqnr}
    terms = tuple(_checked(kind, value) for kind, value in given.items() if value is not None)
    if max_error is not None:
        terms += (_max_error(max_error),)
    return EquivalenceLimit((terms,)) if terms else None


def parse_fraction(text: str, *, key: str) -> float:
    """'0.03' or '3%' -> 0.03; at least 0 and at most 1."""
    example = _EXAMPLE if key in _TERMS else _SLOWDOWN_EXAMPLE
    if key.endswith("max-fallback"):
        example = _FALLBACK_EXAMPLE
    number = text.strip().removesuffix("%")
    value = _parse_number(number, key, example) / (100 if number != text.strip() else 1)
    return _checked_fraction(key, value, example)


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything that is judged on one target; None where nothing is declared.

    min_speedup 1.5: at least 1.5x as fast. max_slowdown 0.03: at most 3 % slower (0.97x).
    max_fallback 0.2: at most 20 % of the MACs may run elsewhere than asked for.
    metrics: those of the task, each a check of its own.
    budgets: what is not relative to the original (latency, memory, size ...).
    search_inputs 500: so many inputs near the data are tried, to find the worst.
    max_worst_error 0.1: none of them may have a larger scale-relative error.
    """

    equivalence: EquivalenceLimit | None = None
    min_speedup: float | None = None
    max_slowdown: float | None = None
    max_fallback: float | None = None
    budgets: tuple[Budget, ...] = ()
    search_inputs: int | None = None
    max_worst_error: float | None = None
    metrics: tuple[MetricSpec, ...] = ()

    def __post_init__(self) -> None:
        self._check_search()
        if self.max_fallback is not None:
            _checked_fraction("max-fallback", self.max_fallback, _FALLBACK_EXAMPLE)
        if self.min_speedup is not None:
            _positive("min-speedup", self.min_speedup, "Write for example 1.5 for 1.5x.")
        if self.max_slowdown is not None:
            value = _checked_fraction("max-slowdown", self.max_slowdown, _SLOWDOWN_EXAMPLE)
            if value in (0.0, 1.0):
                raise UsageError(
                    f"{value:g} does not lie between 0 and 1.",
                    where="max-slowdown",
                    remedy=_SLOWDOWN_EXAMPLE,
                )
        check_consistent(self.budgets)

    def limits_speed(self) -> bool:
        """Whether anything about speed or size is declared."""
        return self.speed_ratio_required() is not None or bool(self.budgets)

    def _check_search(self) -> None:
        if self.search_inputs is not None and not 0 <= self.search_inputs <= _MOST_INPUTS:
            raise UsageError(
                f"{self.search_inputs} inputs cannot be tried.",
                where="search-inputs",
                remedy=f"Write for example 500, at most {_MOST_INPUTS:,}, or 0 for no search.",
            )
        if self.max_worst_error is not None:
            _checked(MAX_ERROR, self.max_worst_error, "max-worst-error")
            if self.search_inputs == 0:
                raise UsageError(
                    "0 inputs leave nothing that max-worst-error could be judged by.",
                    where="search-inputs",
                    remedy="Let some inputs be tried, or leave max-worst-error out.",
                )

    def inputs_to_search(self) -> int:
        """How many inputs near the data shall be tried; 0: none."""
        if self.search_inputs is None:
            return 0 if self.max_worst_error is None else DEFAULT_SEARCH_INPUTS
        return self.search_inputs

    def fallback_allowed(self) -> float:
        """The part of the MACs that may run elsewhere, in 0..1."""
        return DEFAULT_MAX_FALLBACK if self.max_fallback is None else self.max_fallback

    def speed_ratio_required(self) -> float | None:
        """X of 'at least X times as fast'; where both limits are given, the stricter."""
        slowest = None if self.max_slowdown is None else 1 - self.max_slowdown
        declared = [x for x in (self.min_speedup, slowest) if x is not None]
        return max(declared, default=None)

    def describe(self) -> str:
        """All declared limits in one line; 'nothing declared' where there are none."""
        parts = []
        if self.equivalence is not None:
            parts.append(self.equivalence.describe())
        if self.min_speedup is not None:
            parts.append(f"speed-up >= {units.ratio(self.min_speedup)}")
        if self.max_slowdown is not None:
            parts.append(f"slowdown <= {100 * self.max_slowdown:g} %")
        if self.max_fallback is not None:
            parts.append(f"fallback <= {100 * self.max_fallback:g} % of the MACs")
        parts += [metric.describe() for metric in self.metrics]
        parts += [budget.describe() for budget in self.budgets]
        if self.max_worst_error is not None:
            tries = units.plural(self.inputs_to_search(), "input")
            parts.append(f"worst error <= {self.max_worst_error:g} of the scale in {tries}")
        return "; ".join(parts) or "nothing declared"


def _parse_all_of(part: str, text: str) -> tuple[Term, ...]:
    terms: dict[str, Term] = {}
    for item in part.split(","):
        kind, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals:
            raise UsageError(f"'{item.strip()}' has no '='.", where=text, remedy=_EXAMPLE)
        if kind not in _TERMS:
            hint = did_you_mean(kind, _TERMS) or f"The limits are {', '.join(_TERMS)}."
            raise UsageError(f"unknown limit '{kind}'.", where=text, remedy=hint)
        if kind in terms:
            raise UsageError(
                f"'{kind}' is given twice.",
                where=text,
                remedy="Keep the stricter one, or separate alternatives with '|'.",
            )
        if kind == MIN_AGREEMENT:
            terms[kind] = _checked(kind, parse_fraction(value, key=kind))
        elif kind == MAX_ERROR:
            terms[kind] = _max_error(value)
        else:
            terms[kind] = _checked(kind, _parse_number(value, kind, _EXAMPLE))
    return tuple(terms.values())


def _max_error(value: float | str) -> Term:
    if isinstance(value, str):
        word = value.strip()
        if word == AUTO:
            return Term(NOISE_FLOOR, TOTAL_ERROR_FLOOR)
        value = _parse_number(word, MAX_ERROR, _MAX_ERROR_EXAMPLE)
    return _checked(MAX_ERROR, value)


def _refuse_vain(any_of: tuple[tuple[Term, ...], ...], text: str) -> None:
    """An alternative that can never hold, or that another one makes idle, was not meant so."""
    for all_of in any_of:
        if Term(MIN_AGREEMENT, 1.0) in all_of:
            raise UsageError(
                "the alternative min-agreement=1 can never hold: no number of samples proves that "
                "there is no exception.",
                where=text,
                remedy="Write for example min-agreement=0.99.",
            )
    kinds = [tuple(sorted(term.kind for term in all_of)) for all_of in any_of]
    for kind in set(kinds):
        if len(kind) == 1 and kinds.count(kind) > 1:
            raise UsageError(
                f"'{kind[0]}' stands in two alternatives: the stricter one never decides.",
                where=text,
                remedy="Keep the one that is meant.",
            )


def _checked(kind: str, value: float, where: str = "") -> Term:
    if kind == MIN_AGREEMENT:
        value = _checked_fraction(kind, value, _EXAMPLE)
    _positive(where or kind, value, _EXAMPLE)
    if kind == MAX_ERROR and value >= 1:
        raise UsageError(
            f"{value:g} allows an error as large as the output itself.",
            where=where or kind,
            remedy="It is a part of the output's scale: 0.01 is 1 % of the largest value.",
        )
    return Term(kind, value)


def _parse_number(text: str, key: str, example: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a number.", where=key, remedy=example) from None


def _positive(key: str, value: float, example: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{value:g} is not a positive number.", where=key, remedy=example)


def _checked_fraction(key: str, value: float, example: str) -> float:
    if not 0 <= value <= 1:  # NaN too
        meant = f"Did you mean {value / 100:g} ({value:g} %)?" if 2 <= value <= 100 else example
        raise UsageError(f"{value:g} is not a fraction between 0 and 1.", where=key, remedy=meant)
    return value
