"""What forms cost within a net, learned from races of nets whose effects are known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from modelcheck.searching.climbing import Climb
from modelcheck.searching.cost_model import Assignment, Choice, CostModel, Prior
from modelcheck.searching.stopwatch import Gain

ERROR = 0.01
UNSURE = Prior(0.0, 0.1)


class Races:
    """Nets whose time is 1 and the sum of their effects, timed with noise."""

    def __init__(self, effects: Mapping[Choice, float], *, dies: frozenset[Choice] = frozenset()):
        self.effects, self.dies, self.count = effects, dies, 0
        self.random = np.random.default_rng(3)

    def time(self, net: Assignment) -> float:
        return 1.0 + sum(self.effects[choice] for choice in net.items())

    def gains(self, first: Assignment, rivals: Sequence[Assignment]) -> dict[int, Gain | None]:
        self.count += 1
        found: dict[int, Gain | None] = {}
        if self.dies & set(first.items()):
            return found
        for i, rival in enumerate(rivals):
            found[i] = None
            if not self.dies & set(rival.items()):
                noise = 1 + ERROR * self.random.standard_normal()
                found[i] = Gain(noise * self.time(first) / self.time(rival), ERROR)
        return found


def climbed(races: Races, priors: Mapping[Choice, Prior]) -> Climb:
    climb = Climb({}, CostModel(priors), races.gains, lambda: races.count > 40)
    for _ in climb.run():
        pass
    return climb


def halves(parts: int, races: Races, costs: CostModel, count: int) -> None:
    """Races of random halves of all parts with the plain net."""
    for _ in range(count):
        rival = {f"part {p}": "b" for p in range(parts) if races.random.random() < 0.5}
        costs.observe({}, rival, races.gains({}, [rival])[0])


def test_without_a_race_the_prior_stands() -> None:
    costs = CostModel({("a", "x"): Prior(-0.1, 0.01), ("a", "y"): Prior(-0.2, 0.01),
                       ("b", "x"): Prior(0.1, 0.01)})  # fmt: skip
    assert costs.best() == {"a": "y"}
    assert costs.effects() == pytest.approx({("a", "x"): -0.1, ("a", "y"): -0.2, ("b", "x"): 0.1})


def test_effects_smaller_than_the_noise_of_a_race_are_told_apart_by_many() -> None:
    effects = {(f"part {p}", "b"): (-1) ** p * 0.008 for p in range(10)}
    races, costs = Races(effects), CostModel(dict.fromkeys(effects, UNSURE))
    halves(10, races, costs, 120)
    assert costs.effects() == pytest.approx(effects, abs=0.006)
    assert costs.best() == {part: form for (part, form), e in effects.items() if e < 0}


def test_a_race_with_any_net_says_the_same_as_one_with_the_plain_net() -> None:
    """T(r) = ρ T(f): here the first net is itself twice as fast as the plain one."""
    costs = CostModel({("a", "x"): Prior(-0.5, 1e-6), ("b", "x"): UNSURE})
    costs.observe({"a": "x"}, {"a": "x", "b": "x"}, Gain(0.5 / 0.4, 1e-4))
    assert costs.effects()["b", "x"] == pytest.approx(-0.1, abs=1e-3)


def test_many_small_gains_are_found_together() -> None:
    effects = {(f"part {p}", "b"): -0.006 if p % 3 else 0.02 for p in range(24)}
    races = Races(effects)
    climb = climbed(races, {c: Prior(e, 0.01) for c, e in dict.fromkeys(effects, 0.0).items()})
    assert races.time(climb.chosen) < 1 - 0.6 * 16 * 0.006


def test_what_was_promised_alone_and_does_not_hold_in_the_net_is_taken_back() -> None:
    effects = {("a", "x"): -0.1, ("b", "x"): 0.08, ("c", "x"): 0.08}
    climb = climbed(Races(effects), {c: Prior(-0.1, 0.06) for c in effects})
    assert climb.chosen == {"a": "x"}


def test_a_form_that_does_not_run_is_found_out_and_the_others_stay() -> None:
    effects = {(f"part {p}", "b"): -0.05 for p in range(6)}
    dies = frozenset({("part 2", "b")})
    climb = climbed(Races(effects, dies=dies), {c: Prior(-0.03, 0.03) for c in effects})
    assert "part 2" not in climb.chosen
    assert len(climb.chosen) >= 4


def test_what_is_certain_is_not_tried_again() -> None:
    costs = CostModel({("a", "x"): Prior(-0.1, 0.001), ("b", "x"): Prior(0.0, 0.05)})
    random = np.random.default_rng(0)
    drawn = [costs.drawn(random) for _ in range(200)]
    assert all(net["a"] == "x" for net in drawn)
    assert 60 < sum("b" in net for net in drawn) < 140


def test_where_the_chosen_net_itself_dies_nothing_is_learned() -> None:
    """Else its rivals would be blamed, and the form that died praised."""
    choices = {("p", "a"): UNSURE, ("q", "a"): UNSURE}
    races = Races(dict.fromkeys(choices, 0.0), dies=frozenset({("p", "a")}))
    climb = Climb({"p": "a"}, CostModel(choices), races.gains, lambda: False)
    assert not climb.race([{}, {"q": "a"}, {"p": "a", "q": "a"}])
    assert climb.costs.effects() == pytest.approx(dict.fromkeys(choices, 0.0))


@pytest.mark.parametrize(
    "gain",
    [
        Gain(1.0, 0.0),
        Gain(1e-3, 1.0),
        Gain(0.0, 0.0),
        Gain(float("nan"), 0.1),
        Gain(float("inf"), 0.1),
        None,
    ],
)
def test_any_race_leaves_finite_effects(gain: Gain | None) -> None:
    costs = CostModel({("a", "x"): Prior(0.0, 0.002)})
    for _ in range(50):
        costs.observe({}, {"a": "x"}, gain)
    assert np.isfinite(list(costs.effects().values())).all()


def test_a_climb_ends_where_nothing_pays() -> None:
    effects = {(f"part {p}", "b"): 0.05 for p in range(8)}
    races = Races(effects)
    climb = Climb({}, CostModel(dict.fromkeys(effects, UNSURE)), races.gains, lambda: False)
    assert [*climb.run()][-1] == {}
    assert races.count < 30
