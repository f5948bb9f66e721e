"""The pytest plugin: collects *.modelcheck.toml files, and offers a fixture to Python tests.

One item per model × target × check; each model is verified once, by the first of its items.
Nothing heavy is imported until a file is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from modelcheck.judge import Check
    from modelcheck.ledger.book import Book
    from modelcheck.recipe import ModelPair, Recipe
    from modelcheck.verification import TargetResult, Verification

_SUFFIX = ".modelcheck.toml"
_METRIC = "metric "  # what the kind of a metric's check begins with


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect *.modelcheck.toml files."""
    if not file_path.name.endswith(_SUFFIX):
        return None
    return PolicyFile.from_parent(parent, path=file_path)


class GateFailed(Exception):
    """A check did not pass; its text is the whole failure message."""


class PolicyFile(pytest.File):
    """A *.modelcheck.toml file. One that yields no checks is one failing item."""

    def collect(self) -> Iterator[pytest.Item]:
        from modelcheck.errors import ModelcheckError
        from modelcheck.recipe import load_recipe

        try:
            recipe = load_recipe(self.path)
        except ModelcheckError as error:
            yield _Unusable.from_parent(self, name="policy", reason=str(error))
            return
        items = [
            item
            for pair in recipe.models
            for item in self._items(_Case(recipe, pair, self.config.rootpath), recipe, pair)
        ]
        if not items:
            reason = "the file yields no checks. Name models in [[models]], each with an original."
            items = [_Unusable.from_parent(self, name="checks", reason=f"INCONCLUSIVE: {reason}")]
        yield from items

    def _items(self, case: _Case, recipe: Recipe, pair: ModelPair) -> list[pytest.Item]:
        from modelcheck.judge.metrics import check_kind

        items: list[pytest.Item] = []
        for number, settings in enumerate(recipe.targets):
            kinds = ["equivalence"] if recipe.judging.equivalence else []
            if recipe.judging.speed:
                kinds += ["speed"] if settings.limits.speed_ratio_required() is not None else []
                kinds += [budget.key for budget in settings.limits.budgets]
            if recipe.judging.equivalence:
                kinds += map(check_kind, settings.limits.metrics)
            kinds += ["since-last"] if recipe.judging.since_last else []
            if recipe.judging.equivalence and settings.limits.max_worst_error is not None:
                kinds.append("worst-case")
            for kind in kinds:
                name = f"{case.name}[{settings.target.name}-{kind}]"
                items.append(
                    CheckItem.from_parent(self, name=name, case=case, target=number, kind=kind)
                )
        return items


@dataclass
class _Case:
    """A model of the file; verified when first asked, and then remembered."""

    recipe: Recipe
    pair: ModelPair
    folder: Path  # where the ledger is
    _result: Verification | None = None
    _error: Exception | None = field(default=None)

    def result(self) -> Verification:
        from modelcheck.errors import ModelcheckError

        if self._error is not None:
            raise self._error
        if self._result is None:
            try:
                self._result = self._recorded()
            except ModelcheckError as error:
                self._error = error
                raise
        return self._result

    def _recorded(self) -> Verification:
        """Verify, compare with the last release where that is asked for, and write it down."""
        import warnings

        from modelcheck.ledger import ledger_path
        from modelcheck.ledger.book import Book
        from modelcheck.ledger.recording import Occasion

        recipe, pair = self.recipe, self.pair
        book = Book.open(ledger_path(folder=self.folder), since_last=recipe.judging.since_last)
        made = pair.candidate is None and recipe.steps
        file = recipe.file.name if recipe.file else "steps"
        occasion = Occasion(
            kind="pytest",
            model=f"{pair.original.name} by {file}" if made else self.name,
            command="pytest",
            steps=recipe.steps if made else (),
            folder=self.folder,
        )
        result, _ = book.review(self._verify(book), occasion)
        book.keep(result, occasion)
        for text in book.warnings:
            warnings.warn(text, stacklevel=2)
        return result

    @property
    def name(self) -> str:
        return (self.pair.candidate or self.pair.original).name

    def _verify(self, book: Book) -> Verification:
        from modelcheck import gate
        from modelcheck.recipe import is_automatic

        original = gate.load_model(self.pair.original)
        bands = book.bands(original)
        if self.pair.candidate is not None:
            recipe, _ = gate.without_steps(self.recipe)
            candidate = gate.load_model(self.pair.candidate, candidate=True)
            inputs = gate.open_inputs(original, recipe)
            claim = gate.default_claim(recipe)
            return gate.judge(inputs, candidate, claim, recipe, bands=bands)
        if is_automatic(self.recipe.steps):
            from modelcheck.searching.automatic import planned

            plan = planned(original, self.recipe, emit=gate.silent)
            recipe, inputs = plan.recipe, plan.inputs
        else:
            recipe, inputs = self.recipe, gate.open_inputs(original, self.recipe)
        if not recipe.steps:
            claim = gate.default_claim(recipe, alone=True)
            return gate.judge(inputs, None, claim, recipe, bands=bands)
        made = gate.make_candidate(original, inputs, recipe)
        return gate.judge(inputs, made.model, made.claim, recipe, bands=bands)


class CheckItem(pytest.Item):
    """One check of one model on one target."""

    def __init__(self, *, case: _Case, target: int, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case
        self._target = target
        self._kind = kind

    def runtest(self) -> None:
        """Fail with the outcome's name first; skip only where the target is optional."""
        from modelcheck.errors import ModelcheckError

        try:
            result = self._case.result().targets[self._target]
        except ModelcheckError as error:
            raise GateFailed(str(error)) from None
        found = _relevant(result, self._kind)
        if text := _complaint(found, self._kind):
            if result.settings.target.optional:
                pytest.skip(text)
            raise GateFailed(text)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """The message alone: a traceback through the plugin helps nobody."""
        if isinstance(excinfo.value, GateFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class _Unusable(pytest.Item):
    """A file that cannot be used, as one failing item."""

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reason = reason

    def runtest(self) -> None:
        raise GateFailed(self._reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def _relevant(result: TargetResult, kind: str) -> list[Check]:
    """The checks that an item stands for; a target that does not run at all fails each of them."""
    gated = result.settings.limits.max_worst_error is not None
    own = [c for c in result.checks if _item_of(c, worst_case=gated) == kind]
    return own or [c for c in result.checks if c.kind == "runs"]


def _item_of(check: Check, *, worst_case: bool) -> str:
    """The kind of item that a check belongs to: equivalence, where it has none of its own."""
    from modelcheck.judge.budgets import is_speed

    kind = check.kind
    own = is_speed(kind) or kind == "since-last" or kind.startswith(_METRIC)
    own = own or (worst_case and kind == "worst-case")
    return kind if own else "equivalence"


def _complaint(checks: list[Check], kind: str) -> str | None:
    from modelcheck.judge import Outcome

    if not checks:
        return f"INCONCLUSIVE: the run gave no {kind} check"
    bad = [c for c in checks if c.outcome is not Outcome.PASS]
    return "\n".join(f"{c.outcome}: {c.message}" for c in bad) or None


def _with_functions(
    recipe: Recipe, metrics: Iterable[Callable[..., Any]] | Mapping[Callable[..., Any], float]
) -> Recipe:
    from dataclasses import replace

    from modelcheck.judge.metrics import of_function, overlaid_metrics

    limits = metrics if isinstance(metrics, Mapping) else dict.fromkeys(metrics, 0.95)
    declared = tuple(of_function(function, least) for function, least in limits.items())
    targets = (
        replace(t, limits=replace(t.limits, metrics=overlaid_metrics(t.limits.metrics, declared)))
        for t in recipe.targets
    )
    return replace(recipe, targets=tuple(targets))


@pytest.fixture
def modelcheck_gate(request: pytest.FixtureRequest) -> Any:
    """Judge models in a Python test: `modelcheck_gate("m.onnx", "m.int8.onnx", policy="p.toml")`.

    Fails the test unless the verdict is PASS, with every finding in the text; returns the
    Verification. Without a candidate the original is judged alone. `metrics`: callables that take
    two mappings of outputs by name, the reference's and those to judge, of one sample, and return
    a score from 0 to 1. Its mean shall be at least 0.95, or what a dict of callables says.
    """

    def judge(
        original: Path | str,
        candidate: Path | str | None = None,
        *,
        policy: Path | str | None = None,
        data: Path | str | None = None,
        metrics: Iterable[Callable[..., Any]] | Mapping[Callable[..., Any], float] = (),
    ) -> Verification:
        from dataclasses import replace

        from modelcheck.errors import ModelcheckError
        from modelcheck.recipe import ModelPair, Recipe, load_recipe

        try:
            recipe = Recipe() if policy is None else load_recipe(Path(policy))
            if data is not None:
                recipe = replace(recipe, data=replace(recipe.data, path=Path(data)))
            recipe = _with_functions(recipe, metrics)
            pair = ModelPair(Path(original), None if candidate is None else Path(candidate))
            result = _Case(recipe, pair, request.config.rootpath).result()
        except ModelcheckError as error:
            pytest.fail(str(error), pytrace=False)
        required = [c for c in result.checks if not c.optional]
        if text := _complaint(required, "required"):
            pytest.fail(text, pytrace=False)
        return result

    return judge
