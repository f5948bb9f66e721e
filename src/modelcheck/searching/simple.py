"""A search as one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelcheck.data import Samples, split_in_three
from modelcheck.errors import UsageError
from modelcheck.judge import Limits
from modelcheck.model import Model
from modelcheck.recipe import TargetSettings
from modelcheck.searching.plan import DEFAULT_MAX_TIME_S, Event, Goal, Searched, SearchPlan
from modelcheck.searching.run import search_events
from modelcheck.targets import Target
from modelcheck.transforms import Claim
from modelcheck.verification.memory import Memory


def search(  # noqa: PLR0913 - each is a choice of its own
    model: Model,
    samples: Samples,
    targets: Sequence[Target | str] = (Target(),),
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    *,
    calibration: Samples | None = None,
    exact: bool = False,
    goal: Goal = Goal.FASTEST,
    max_time_s: float = DEFAULT_MAX_TIME_S,
    seed: int = 0,
    show: Callable[[Event], None] = lambda event: None,
) -> tuple[Searched, ...]:
    """Find the fastest form of a model for each target, and prove it; what the command line does.

    `found.best.made.model` is the model, None where `best` is: then the original is the answer.
    Targets may be written as on the command line ('cpu:new:threads=1'); they share the time.
    Synthetic samples, and `exact`, leave int8 out. `show` receives events as they come. Raises
    ModelcheckError, as `search_events` does.
    """
    if not targets:
        raise UsageError("no target is given", remedy="Name one, for example 'cpu:threads=1'.")
    lossy = not exact and not (calibration or samples).synthetic
    three = split_in_three(samples, calibration if lossy else None, calibrate=lossy)
    found = []
    for target in targets:
        place = Target.parse(target) if isinstance(target, str) else target
        plan = SearchPlan(
            model, three, TargetSettings(place, limits),
            claim=Claim.LOSSY if lossy else Claim.EXACT, goal=goal,
            time_budget_s=max_time_s / len(targets), seed=seed, memory=Memory.of_user(),
        )  # fmt: skip
        for event in search_events(plan):
            show(event)
            if isinstance(event, Searched):
                found.append(event)
    return tuple(found)
