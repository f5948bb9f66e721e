"""Child processes: whatever one does becomes an outcome, and nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from odd_children import MIB, WORKER, gone, odd_child

from modelcheck.errors import Crashed, OutOfMemory, TimedOut
from modelcheck.process import Child, Refused


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """One child for the tests that do it no harm."""
    with odd_child() as shared:
        yield shared


class TestRequests:
    def test_fields_and_arrays_come_back_as_they_went(self, child: Child) -> None:
        sent = {"a": np.arange(6.0).reshape(2, 3), "ü": np.array(True), "empty": np.zeros((0, 4))}
        answer = child.request("echo", sent, text="x", number=1.5)
        assert answer.fields["fields"] == {"text": "x", "number": 1.5}
        for name, array in sent.items():
            np.testing.assert_array_equal(answer.arrays[name], array)

    def test_megabytes_both_ways_do_not_deadlock(self, child: Child) -> None:
        big = {str(i): np.random.default_rng(i).random(MIB) for i in range(4)}  # 8 MiB each
        answer = child.request("echo", big)
        assert all(np.array_equal(answer.arrays[name], array) for name, array in big.items())

    def test_an_exception_in_the_child_is_a_refusal_and_the_child_lives_on(
        self, child: Child
    ) -> None:
        with pytest.raises(Refused) as caught:
            child.request("refuse", text="no such layer")
        assert (caught.value.kind, caught.value.what) == ("ValueError", "no such layer")
        assert caught.value.exit_code == 4
        assert child.request("echo").arrays == {}

    def test_an_unknown_request_is_a_refusal(self, child: Child) -> None:
        with pytest.raises(Refused):
            child.request("no such op")

    def test_megabytes_printed_to_both_descriptors_do_not_disturb_the_answers(
        self, child: Child
    ) -> None:
        answer = child.request("chat", {"x": np.ones(3)}, kib=4096, to=[1, 2])
        assert answer.fields == {"stopped": False}
        np.testing.assert_array_equal(answer.arrays["x"], np.ones(3))

    def test_the_child_works_in_a_folder_that_only_this_user_can_read(self, child: Child) -> None:
        about = child.request("about").fields
        assert about["cwd"] == about["tmpdir"]
        assert stat.S_IMODE(Path(about["cwd"]).stat().st_mode) == 0o700

    def test_an_answer_given_in_time_is_taken_however_late_the_caller_comes(
        self, child: Child
    ) -> None:
        child.send("echo", {"x": np.zeros(1000)}, timeout_s=0.3)
        time.sleep(0.6)
        assert child.receive().arrays["x"].size == 1000

    def test_two_children_work_side_by_side(self, child: Child) -> None:
        with odd_child() as other:
            for one in (child, other):
                one.send("echo", {"x": np.zeros(MIB)})
            assert [one.receive().arrays["x"].size for one in (other, child)] == [MIB, MIB]

    def test_the_environment_is_laid_over_ours_and_none_takes_a_variable_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KEPT", "ours")
        monkeypatch.setenv("TAKEN", "ours")
        given = {"KEPT": "theirs", "TAKEN": None}
        with Child(WORKER, name="x", environment=given) as child:
            seen = [child.request("about", variable=v).fields["variable"] for v in given]
        assert seen == ["theirs", None]


class TestEndings:
    @pytest.mark.parametrize(
        ("way", "what"),
        [
            ("segfault", "died of SIGSEGV"),
            ("abort", "died of SIGABRT"),
            ("exit", "ended with code 3"),
            ("exit 0", "ended with code 0"),
            ("sys.exit", "ended with code 1"),
            ("real-time signal", f"died of signal {signal.SIGRTMIN + 5}"),
        ],
    )
    def test_a_death_is_named_with_its_log_and_leaves_nothing(
        self, way: str, what: str, temporary: Path
    ) -> None:
        child = odd_child()
        pid = child.request("about").fields["pid"]
        with pytest.raises(Crashed) as caught:
            child.request("end", way=way)
        assert what in str(caught.value)
        assert "the odd child" in str(caught.value)
        assert f"about to {way}" in caught.value.native_log
        assert caught.value.exit_code == 6
        assert gone(pid)
        assert list(temporary.iterdir()) == []  # before the caller closes it

    def test_a_kill_from_outside_is_taken_for_lack_of_memory(self, temporary: Path) -> None:
        with odd_child() as child, pytest.raises(OutOfMemory, match="killed by the system"):
            child.request("end", way="sigkill")

    def test_a_hang_is_killed_after_the_time_that_was_given(self, temporary: Path) -> None:
        with odd_child(request_s=100) as child:
            pid = child.request("about").fields["pid"]
            start_s = time.monotonic()
            with pytest.raises(TimedOut, match="within 400 ms") as caught:
                child.request("end", way="hang", timeout_s=0.4)
            assert 0.3 < time.monotonic() - start_s < 10
            assert "about to hang" in caught.value.native_log
            assert caught.value.exit_code == 6
            assert gone(pid)

    def test_a_child_that_closes_its_pipe_and_runs_on_is_killed(
        self, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("modelcheck.process.child._DYING_S", 0.2)
        with odd_child() as child:
            pid = child.request("about").fields["pid"]
            with pytest.raises(Crashed, match="closed its pipe"):
                child.request("end", way="close")
            assert gone(pid)

    def test_memory_beyond_the_limit_is_out_of_memory(self, temporary: Path) -> None:
        with odd_child(memory_bytes=600 * MIB) as child:
            assert child.request("allocate", bytes=MIB).fields["size"] == MIB
            with pytest.raises(OutOfMemory, match="limit 600 MiB") as caught:
                child.request("allocate", bytes=1 << 30)
            assert caught.value.exit_code == 6

    def test_a_request_that_does_not_fit_into_the_child_is_out_of_memory(
        self, temporary: Path
    ) -> None:
        big = {"x": np.zeros(1 << 30, np.uint8)}
        with odd_child(memory_bytes=600 * MIB) as child, pytest.raises(OutOfMemory):
            child.request("echo", big)

    @pytest.mark.parametrize(
        "text", ["std::bad_alloc", "error: (-4:Insufficient memory) Failed to allocate 9 bytes"]
    )
    def test_native_words_for_lack_of_memory_are_understood(
        self, text: str, temporary: Path
    ) -> None:
        with odd_child() as child, pytest.raises(OutOfMemory):
            child.request("refuse", text=text)

    @pytest.mark.parametrize(
        "answer",
        [
            b"Warning: this is not a frame\n",
            b"\x02\x00\x00\x00{}",
            b'\x0d\x00\x00\x00{"arrays":[]}',  # a frame, but no answer
            b'\x21\x00\x00\x00{"ok":1,"arrays":[["x","O",[1]]]}',
        ],
    )
    def test_an_answer_that_is_none_is_a_crash_at_once(self, answer: bytes) -> None:
        with odd_child() as child:
            start_s = time.monotonic()
            with pytest.raises(Crashed, match="gave no valid answer"):
                child.request("garble", bytes=list(answer))
            assert time.monotonic() - start_s < 4

    def test_an_answer_that_stops_halfway_is_a_time_out(self) -> None:
        with odd_child() as child, pytest.raises(TimedOut):
            child.request("garble", bytes=[255, 0, 0, 0, 1], timeout_s=0.5)

    def test_an_answer_larger_than_this_machine_is_out_of_memory(self) -> None:
        header = b'{"ok":1,"arrays":[["x","u1",[%d]]]}' % (1 << 60)
        frame = len(header).to_bytes(4, "little") + header
        with odd_child() as child, pytest.raises(OutOfMemory):
            child.request("garble", bytes=list(frame))

    def test_a_death_while_a_large_request_is_being_written_is_a_crash(self) -> None:
        with odd_child() as child:
            pid = child.request("about").fields["pid"]
            os.kill(pid, signal.SIGSTOP)  # so that the pipe fills up and the writer waits
            threading.Timer(0.3, lambda: os.kill(pid, signal.SIGABRT)).start()
            threading.Timer(0.4, lambda: os.kill(pid, signal.SIGCONT)).start()
            with pytest.raises(Crashed, match="SIGABRT"):
                child.request("echo", {"x": np.zeros(4 * MIB)})

    def test_a_child_that_does_not_read_is_a_time_out(self) -> None:
        with odd_child() as child:
            os.kill(child.request("about").fields["pid"], signal.SIGSTOP)
            with pytest.raises(TimedOut):
                child.request("echo", {"x": np.zeros(4 * MIB)}, timeout_s=0.3)

    def test_printing_for_ever_fills_no_disk(self) -> None:
        with odd_child() as child:
            assert child.request("chat", kib=300 * 1024, to=[2]).fields["stopped"]
            folder = Path(child.request("about").fields["cwd"])
            assert (folder / "log").stat().st_size <= 256 * MIB
            assert child.request("echo").fields == {"fields": {}}

    def test_a_child_that_is_gone_says_so_to_every_later_request(self) -> None:
        with odd_child() as child:
            with pytest.raises(Crashed, match="SIGABRT"):
                child.request("end", way="abort")
            for call in (lambda: child.request("echo"), child.receive):
                with pytest.raises(Crashed, match="no longer running"):
                    call()
            child.close()
            child.close()

    def test_what_the_child_started_dies_with_it(self, temporary: Path) -> None:
        with odd_child() as child:
            grandchild = child.request("breed").fields["pid"]
            assert psutil.pid_exists(grandchild)
        assert gone(grandchild)

    def test_an_exception_in_the_caller_buries_the_child(self, temporary: Path) -> None:
        pids = []

        def interrupted() -> None:
            with odd_child() as child:
                pids.append(child.request("about").fields["pid"])
                child.send("end", way="hang")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert gone(pids[0])
