"""What an original gave is remembered by content; a candidate is always run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import Samples, open_samples
from modelcheck.judge import Outcome
from modelcheck.model import Model, load
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target
from modelcheck.transforms import prune_weights
from modelcheck.verification import Plan, TargetResult, Verified, verify
from modelcheck.verification import memory as remembering
from modelcheck.verification.memory import Memory, key_of

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
NET = load(FIXTURES / "digits_mlp.onnx")


class Answering:
    """Runs that answer with what they were sent."""

    def __init__(self) -> None:
        self.runs = 0
        self._sent: dict[str, np.ndarray] = {}

    def send(self, arrays: object) -> None:
        self._sent = dict(arrays)  # type: ignore[call-overload]

    def receive(self) -> dict[str, np.ndarray]:
        self.runs += 1
        return self._sent


SENT = [{"a": np.arange(6, dtype=np.float32).reshape(2, 3) + i, "b": np.ones(1)} for i in range(3)]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "cache")


def record(memory: Memory, key: str, *, finish: bool = True) -> None:
    recording = memory.record(key, Answering())
    assert recording is not None
    with recording:
        for arrays in SENT:
            recording.send(arrays)
            recording.receive()
        if finish:
            recording.finish()


def files(memory: Memory) -> list[Path]:
    return sorted(memory._folder.glob("*"))


class TestFiles:
    def test_what_was_answered_is_answered_again(self, memory: Memory) -> None:
        record(memory, "k")
        recalled = memory.recall("k", 3)
        assert recalled is not None
        with recalled:
            for arrays in SENT:
                recalled.send(arrays)
                answer = recalled.receive()
                assert answer.keys() == arrays.keys()
                for name, array in arrays.items():
                    np.testing.assert_array_equal(answer[name], array)

    def test_another_key_or_count_recalls_nothing(self, memory: Memory) -> None:
        record(memory, "k")
        assert memory.recall("other", 3) is None
        assert memory.recall("k", 2) is None

    def test_an_unfinished_recording_leaves_nothing(self, memory: Memory) -> None:
        record(memory, "k", finish=False)
        assert files(memory) == []

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "append"])
    def test_a_damaged_file_counts_as_none(self, memory: Memory, damage: str) -> None:
        record(memory, "k")
        (path,) = files(memory)
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 1
        path.write_bytes(
            {"cut": content[:-40], "empty": b"", "append": content + b"x"}.get(damage, content)
        )
        assert memory.recall("k", 3) is None
        record(memory, "k")
        assert memory.recall("k", 3) is not None

    def test_the_oldest_make_room(self, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
        for age, key in ((30, "old"), (20, "middle")):
            record(memory, key)
            path = memory._folder / f"{key}.runs"
            os.utime(path, (path.stat().st_mtime - age,) * 2)
        monkeypatch.setattr(remembering, "_MOST_BYTES_OF_ALL", 2 * files(memory)[0].stat().st_size)
        record(memory, "new")
        assert [path.stem for path in files(memory)] == ["middle", "new"]

    def test_runs_too_large_are_not_kept(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remembering, "_MOST_BYTES_OF_ONE", 100)
        record(memory, "k")
        assert files(memory) == []

    def test_a_folder_that_cannot_be_made_costs_only_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        blocked = Memory(tmp_path / "file" / "cache")
        assert blocked.record("k", Answering()) is None
        assert blocked.recall("k", 3) is None

    def test_the_user_names_the_folder_or_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MODELCHECK_CACHE", "")
        assert Memory.of_user() is None
        monkeypatch.setenv("MODELCHECK_CACHE", str(tmp_path / "c"))
        memory = Memory.of_user()
        assert memory is not None
        record(memory, "k")
        assert (tmp_path / "c" / "k.runs").exists()


def test_a_variable_that_changes_arithmetic_changes_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key_of(model="m")
    assert key_of(model="m") == before
    assert key_of(model="n") != before
    monkeypatch.setenv("OPENCV_CPU_DISABLE", "AVX2")
    assert key_of(model="m") != before


class TestVerification:
    def judged(
        self, memory: Memory, candidate: Model | None, samples: Samples | None = None
    ) -> TargetResult:
        data = samples or open_samples(FIXTURES / "digits_test.npz", NET.signature, count=20)
        plan = Plan(
            NET, candidate, data, (TargetSettings(Target(threads=1)),), memory=memory,
            judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
        )  # fmt: skip
        *_, last = verify(plan)
        assert isinstance(last, Verified)
        return last.result.targets[0]

    def test_the_second_time_the_verdict_and_every_figure_are_the_same(
        self, memory: Memory
    ) -> None:
        first, second = self.judged(memory, NET), self.judged(memory, NET)
        assert (first.recalled, second.recalled) == (False, True)
        assert second.outcome is Outcome.PASS
        assert second.equivalence == first.equivalence

    def test_a_bad_candidate_fails_after_a_good_one_was_remembered(self, memory: Memory) -> None:
        assert self.judged(memory, NET).outcome is Outcome.PASS
        worse = self.judged(memory, prune_weights(amount=0.9)(NET))
        assert worse.recalled
        assert worse.outcome is Outcome.FAIL

    def test_other_samples_are_run(self, memory: Memory) -> None:
        self.judged(memory, NET)
        others = open_samples(FIXTURES / "digits_test.npz", NET.signature, count=20, seed=1)
        assert not self.judged(memory, NET, others).recalled

    def test_a_model_by_itself_is_always_run_and_remembered_for_its_candidates(
        self, memory: Memory
    ) -> None:
        assert not self.judged(memory, None).recalled
        assert not self.judged(memory, None).recalled
        assert self.judged(memory, NET).recalled
