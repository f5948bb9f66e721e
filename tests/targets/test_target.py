"""Targets as values: what a text names, and what it is refused for."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.errors import UsageError
from modelcheck.targets import Device, Engine, Placement, Target

paths = st.text("abc/._-", min_size=1, max_size=12)


@given(
    st.builds(
        Target,
        device=st.sampled_from(Device),
        engine=st.sampled_from(Engine),
        threads=st.none() | st.integers(1, 64),
        python=st.none() | paths,
        optional=st.booleans(),
    ),
    st.randoms(),
)
def test_every_target_can_be_written_in_any_order_of_its_options(target: Target, random) -> None:  # type: ignore[no-untyped-def]
    options = [str(target.engine)]
    options += [f"threads={target.threads}"] if target.threads else []
    options += [f"python={target.python}"] if target.python else []
    options += ["optional"] if target.optional else []
    random.shuffle(options)
    assert Target.parse(":".join([str(target.device), *options])) == target


def test_a_device_alone_leaves_everything_else_as_it_is() -> None:
    assert Target.parse("cpu") == Target()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpi", "unknown device 'cpi'.*\n.*Did you mean 'cpu'"),
        ("", "unknown device ''"),
        ("CPU", "unknown device 'CPU'"),
        ("gpu:new", "unknown device 'gpu'"),
        ("cpu:clasic", "unknown engine 'clasic'.*\n.*Did you mean 'classic'"),
        ("cpu:", "unknown engine ''"),
        ("cpu:new:optionl", "gives its engine twice"),
        ("cpu:optionl", "Did you mean 'optional'"),
        ("cpu:thread=2", "Did you mean 'threads='"),
        ("cpu:threads", "Did you mean 'threads='"),
        ("cpu:threads=0", "threads=0: a target needs at least one thread"),
        ("cpu:threads=-1", "threads=-1: a target needs at least one thread"),
        ("cpu:threads=two", "threads=two is not a whole number"),
        ("cpu:threads=", "threads= is not a whole number"),
        ("cpu:threads=1.5", "threads=1.5 is not a whole number"),
        ("cpu:threads=²", "is not a whole number"),
        ("cpu:threads=" + "9" * 5000, "is not a whole number"),
        ("cpu:threads=1:threads=2", "gives its threads twice"),
        ("cpu:new:classic", "gives its engine twice"),
        ("cpu:python=", "names no interpreter"),
        ("cpu:optional=1", "unknown engine 'optional=1'"),
        ("cpu:\x1b[2J", r"unknown engine '\\x1b\[2J'"),
    ],
)
def test_what_names_no_target_is_refused_with_the_nearest_word(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Target.parse(text)
    assert caught.value.exit_code == 2


@given(st.text("cpu:newthreads=python optional0123456789-", max_size=30))
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        target = Target.parse(text)
    except UsageError:
        return
    assert target.name.startswith("cpu ")


def test_names_tell_targets_apart() -> None:
    targets = [Target(), Target(engine=Engine.NEW), Target(threads=1), Target(threads=2),
               Target(python="/a"), Target(device=Device.CUDA)]  # fmt: skip
    assert len({t.name for t in targets}) == len(targets)
    assert Target(engine=Engine.NEW, threads=1).name == "cpu new, 1 thread"
    assert Target(threads=2).name == "cpu auto, 2 threads"


def test_targets_and_placements_do_not_change() -> None:
    for value, field in ((Target(), "threads"), (Placement("a", "b"), "proof")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, None)


def test_without_proof_nothing_is_proven() -> None:
    assert not Placement("cuda", "cuda").proven
    assert Placement("cpu new", "cpu new", ("the net reports the new engine",)).proven
