"""Many checks, one outcome, one exit code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.judge import Check, Outcome, exit_code, overall


def check(outcome: Outcome, *, optional: bool = False) -> Check:
    return Check("equivalence", "cpu", outcome, "", optional=optional)


def test_no_checks_is_inconclusive():
    assert overall([]) is Outcome.INCONCLUSIVE


def test_optional_checks_alone_are_no_evidence():
    assert overall([check(Outcome.PASS, optional=True)]) is Outcome.INCONCLUSIVE


@given(
    st.lists(st.sampled_from(Outcome), min_size=1),
    st.lists(st.sampled_from(Outcome)),
    st.randoms(),
)
def test_optional_checks_and_order_never_change_the_outcome(required, optional, random):
    checks = [check(o) for o in required]
    alone = overall(checks)
    checks += [check(o, optional=True) for o in optional]
    random.shuffle(checks)
    assert overall(checks) is alone


@given(st.lists(st.sampled_from(Outcome), min_size=1))
def test_the_gravest_required_outcome_wins(outcomes):
    gravity = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED, Outcome.FAIL]
    assert overall(map(check, outcomes)) is max(outcomes, key=gravity.index)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.PASS, 0),
        (Outcome.FAIL, 1),
        (Outcome.UNSUPPORTED, 4),
        (Outcome.INCONCLUSIVE, 5),
    ],
)
def test_exit_codes_are_those_of_the_documentation(outcome, code):
    assert exit_code(outcome) == code
