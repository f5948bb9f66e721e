"""How children start under any interpreter, and end with whoever started them."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from odd_children import WORKER, gone, odd_child, run_python, start_python

from modelcheck.errors import Crashed
from modelcheck.process import Child, Workspace


class TestStarting:
    @pytest.mark.parametrize(
        "python", ["/no/such/python", "no-such-python", "/", str(WORKER), "a\0b"]
    )
    def test_what_is_no_interpreter_is_said_and_leaves_nothing(
        self, python: str, temporary: Path
    ) -> None:
        with pytest.raises(Crashed, match="x: cannot be started"):
            Child(WORKER, name="x", python=python)

    @pytest.mark.parametrize("python", ["/bin/true", "/bin/cat", "/bin/echo"])
    def test_a_program_that_is_no_python_is_a_crash(self, python: str, temporary: Path) -> None:
        with Child(WORKER, name="x", python=python) as child, pytest.raises(Crashed):
            child.request("about")

    def test_a_relative_interpreter_is_relative_to_where_the_user_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to(sys.executable)
        monkeypatch.chdir(tmp_path)
        with Child(WORKER, name="x", python="bin/python") as child:
            assert child.request("about").fields["pid"]

    def test_a_wrapper_that_prints_before_it_starts_python_is_harmless(
        self, tmp_path: Path
    ) -> None:
        wrapper = tmp_path / "python-with-cuda"
        wrapper.write_text(f'#!/bin/sh\necho "setting up CUDA"\nexec {sys.executable} "$@"\n')
        wrapper.chmod(0o755)
        with Child(WORKER, name="x", python=str(wrapper)) as child:
            assert child.request("about").fields["pid"]

    def test_a_stricter_limit_of_the_user_is_kept(self) -> None:
        code = f"""
            import resource
            from pathlib import Path
            from modelcheck.process import Child
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            with Child(Path({str(WORKER)!r}), name="x") as child:
                print(child.request("chat", kib=2000, to=[2]).fields["stopped"])
        """
        ran = run_python(code)
        assert ran.stdout == "True\n", ran.stderr

    def test_a_child_made_in_a_thread_outlives_the_thread(self) -> None:
        made: list[Child] = []

        def make() -> None:
            made.append(odd_child())
            made[0].request("echo")  # it runs, and has asked to die with its parent

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        with made[0] as child:
            time.sleep(0.1)
            assert child.request("echo").fields == {"fields": {}}


class TestParents:
    def test_sigkill_of_the_parent_takes_the_child_along_and_the_next_run_sweeps(
        self, temporary: Path
    ) -> None:
        code = f"""
            import sys, tempfile
            from pathlib import Path
            from modelcheck.process import Child, Workspace
            workspace = Workspace()
            child = Child(Path({str(WORKER)!r}), name="x")
            print(child.request("about").fields["pid"], flush=True)
            child.request("end", way="hang")
        """
        parent = start_python(code, TMPDIR=str(temporary))
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert len(list(temporary.iterdir())) == 2
        Workspace().close()
        assert len(list(temporary.iterdir())) == 2  # the owner lives: not swept
        parent.kill()
        parent.wait()
        assert gone(pid)
        Workspace().close()
        assert list(temporary.iterdir()) == []

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
    )
    def test_a_signal_to_the_parent_leaves_nothing(
        self, number: signal.Signals, code: int, temporary: Path
    ) -> None:
        script = f"""
            import signal, sys
            from pathlib import Path
            from modelcheck.process import Child, Workspace
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            with Workspace(), Child(Path({str(WORKER)!r}), name="x") as child:
                print(child.request("about").fields["pid"], flush=True)
                child.request("end", way="hang")
        """
        parent = start_python(script, TMPDIR=str(temporary))
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(number)
        assert parent.wait(timeout=20) == code
        assert gone(pid)

    def test_an_idle_child_ends_when_its_parent_exits_without_a_word(self) -> None:
        code = f"""
            import os
            from pathlib import Path
            from modelcheck.process import Child
            child = Child(Path({str(WORKER)!r}), name="x")
            print(child.request("about").fields["pid"], flush=True)
            os._exit(0)
        """
        ran = run_python(code)
        assert gone(int(ran.stdout))
