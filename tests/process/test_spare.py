"""Children started ahead: taken over by whoever needs them, and gone when nobody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from odd_children import MIB, WORKER, gone, odd_child

from modelcheck.errors import Crashed, TimedOut
from modelcheck.process import Child, ChildLimits, Command, Spares, frames, serve

MEMORY = ChildLimits().address_space()


def pid(child: Child) -> int:
    found = child.request("about").fields["pid"]
    assert isinstance(found, int)
    return found


def started(spares: Spares, command: Command | None = None) -> int:
    """Start a spare; its process."""
    before = set(psutil.Process().children())
    spares.start(command or Command.of(WORKER, memory_bytes=MEMORY))
    (new,) = set(psutil.Process().children()) - before
    return int(new.pid)


@pytest.fixture
def spares(temporary: Path) -> Iterator[Spares]:
    with Spares() as started:
        yield started


def test_a_child_of_the_same_command_takes_over_a_spare_once(spares: Spares) -> None:
    ahead = started(spares)
    with odd_child() as first, odd_child() as second:
        assert pid(first) == ahead
        assert pid(second) != ahead


def test_a_spare_that_was_taken_over_has_the_name_and_the_patience_of_its_taker(
    spares: Spares,
) -> None:
    started(spares)
    with odd_child(request_s=0.3) as child, pytest.raises(TimedOut, match="the odd child: no an"):
        child.request("end", way="hang")


@pytest.mark.parametrize(
    "other",
    [
        Command.of(Path(os.__file__), memory_bytes=MEMORY),
        Command.of(WORKER, memory_bytes=MEMORY - MIB),
        Command.of(WORKER, memory_bytes=MEMORY, python="/bin/cat"),
        Command.of(WORKER, memory_bytes=MEMORY, environment={"A": "B"}),
    ],
)
def test_a_spare_of_another_command_is_left_alone(spares: Spares, other: Command) -> None:
    ahead = started(spares, other)
    with odd_child() as child:
        assert pid(child) != ahead


def test_spares_that_nobody_took_end_with_the_block_and_others_live_on(temporary: Path) -> None:
    with Spares() as spares:
        children = {started(spares) for _ in range(3)}
        taken = odd_child()
        children.remove(pid(taken))
    assert all(gone(number) for number in children)
    with taken:
        assert pid(taken)


def test_an_interruption_ends_them(temporary: Path) -> None:
    def interrupted() -> None:
        with Spares() as spares:
            children.add(started(spares))
            raise KeyboardInterrupt

    children: set[int] = set()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert children
    assert all(gone(number) for number in children)


def test_what_cannot_be_started_is_said_by_who_needs_it(spares: Spares) -> None:
    spares.start(Command.of(WORKER, memory_bytes=MEMORY, python="/no/such/python"))
    with pytest.raises(Crashed, match="x: cannot be started"):
        Child(WORKER, name="x", python="/no/such/python")


def test_a_spare_that_died_is_reported_by_the_first_request(spares: Spares) -> None:
    ahead = started(spares)
    os.kill(ahead, signal.SIGSEGV)
    with odd_child() as child, pytest.raises(Crashed, match="the odd child: died of SIGSEGV"):
        child.request("echo")


class TestHaste:
    """What a worker does before its first request."""

    def test_a_worker_that_nobody_asks_makes_haste_and_survives_its_failure(self) -> None:
        with odd_child() as child:
            deadline = time.monotonic() + 20
            while "hastened" not in child.log_tail() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert "hastened" in child.log_tail()
            assert child.request("echo").arrays == {}

    def test_a_request_that_waits_comes_first(self, tmp_path: Path) -> None:
        with (tmp_path / "requests").open("wb") as requests:
            frames.write_frame(requests, {"op": "echo", "may_share": False})
        with (
            (tmp_path / "requests").open("rb") as requests,
            (tmp_path / "answers").open("wb") as answers,
        ):
            descriptor = answers.fileno()
            command = [
                sys.executable, "-I", str(WORKER), str(frames.__file__), str(serve.__file__),
                "0", str(descriptor),
            ]  # fmt: skip
            ran = subprocess.run(
                command, stdin=requests, stderr=subprocess.PIPE, pass_fds=[descriptor], check=True
            )
        with (tmp_path / "answers").open("rb") as answers:
            assert frames.read_frame(answers)[0]["ok"]
        assert b"hastened" not in ran.stderr
