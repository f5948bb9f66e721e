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
            for item in self._items(_Case(recipe, pair), recipe, pair)
        ]
        if not items:
            reason = "the file yields no checks. Name models in [[models]], each with an original."
            items = [_Unusable.from_parent(self, name="checks", reason=f"INCONCLUSIVE: {reason}")]
        yield from items

    def _items(self, case: _Case, recipe: Recipe, pair: ModelPair) -> list[pytest.Item]:
        from modelcheck.judge.metrics import check_kind

        model = (pair.candidate or pair.original).name
        items: list[pytest.Item] = []
        for number, settings in enumerate(recipe.targets):
            kinds = ["equivalence"] if recipe.judging.equivalence else []
            if recipe.judging.speed and settings.limits.speed_ratio_required() is not None:
                kinds.append("speed")
            if recipe.judging.equivalence:
                kinds += map(check_kind, settings.limits.metrics)
            for kind in kinds:
                name = f"{model}[{settings.target.name}-{kind}]"
                items.append(
                    CheckItem.from_parent(self, name=name, case=case, target=number, kind=kind)
                )
        return items


@dataclass
class _Case:
    """A model of the file; verified when first asked, and then remembered."""

    recipe: Recipe
    pair: ModelPair
    _result: Verification | None = None
    _error: Exception | None = field(default=None)

    def result(self) -> Verification:
        from modelcheck.errors import ModelcheckError

        if self._error is not None:
            raise self._error
        if self._result is None:
            try:
                self._result = self._verify()
            except ModelcheckError as error:
                self._error = error
                raise
        return self._result

    def _verify(self) -> Verification:
        from modelcheck import gate

        original = gate.load_model(self.pair.original)
        if self.pair.candidate is not None:
            recipe, _ = gate.without_steps(self.recipe)
            candidate = gate.load_model(self.pair.candidate, candidate=True)
            inputs = gate.open_inputs(original, recipe)
            return gate.judge(inputs, candidate, gate.default_claim(recipe), recipe)
        inputs = gate.open_inputs(original, self.recipe)
        if not self.recipe.steps:
            claim = gate.default_claim(self.recipe, alone=True)
            return gate.judge(inputs, None, claim, self.recipe)
        made = gate.make_candidate(original, inputs, self.recipe)
        return gate.judge(inputs, made.model, made.claim, self.recipe)


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
    own = [c for c in result.checks if _item_of(c) == kind]
    return own or [c for c in result.checks if c.kind == "runs"]


def _item_of(check: Check) -> str:
    """The kind of item that a check belongs to: equivalence, where it has none of its own."""
    own = check.kind == "speed" or check.kind.startswith(_METRIC)
    return check.kind if own else "equivalence"


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

    from modelcheck.judge.metrics import of_function, overlaid

    limits = metrics if isinstance(metrics, Mapping) else dict.fromkeys(metrics, 0.95)
    declared = tuple(of_function(function, least) for function, least in limits.items())
    targets = (
        replace(t, limits=replace(t.limits, metrics=overlaid(t.limits.metrics, declared)))
        for t in recipe.targets
    )
    return replace(recipe, targets=tuple(targets))


@pytest.fixture
def modelcheck_gate() -> Any:
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
            result = _Case(recipe, pair).result()
        except ModelcheckError as error:
            pytest.fail(str(error), pytrace=False)
        required = [c for c in result.checks if not c.optional]
        if text := _complaint(required, "required"):
            pytest.fail(text, pytrace=False)
        return result

    return judge
