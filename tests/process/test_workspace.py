"""The private folder of a run: private, removed, and swept when its owner could not."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from modelcheck.errors import OutputNotWritten
from modelcheck.process import Workspace


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of a process that no longer is."""
    return int(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"]))


def leftover(parent: Path, owner: object, name: str = "x") -> Path:
    folder = parent / f"modelcheck-run-{owner}-{name}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"secret")
    return folder


def test_only_this_user_can_read_it_and_it_goes_with_all_that_is_in_it(temporary: Path) -> None:
    with Workspace() as workspace:
        assert stat.S_IMODE(workspace.path.stat().st_mode) == 0o700
        (workspace.path / "deep").mkdir()
        (workspace.path / "deep" / "model.onnx").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_an_exception_removes_it_too(temporary: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Workspace():
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("living", [False, True], ids=["alone", "with a child in it"])
def test_the_end_of_the_process_removes_what_an_interruption_made_it_forget(
    temporary: Path, living: bool
) -> None:
    code = (
        "import subprocess, sys, time; from modelcheck.process import Workspace; "
        "path = Workspace().path; (path / 'model.onnx').touch(); "
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']; "
        "child = subprocess.Popen(sleep, cwd=path) if 'True' in sys.argv else None; "
        "print(child.pid if child else '', flush=True); sys.exit(143)"
    )
    environment = dict(os.environ, TMPDIR=str(temporary))
    words = [sys.executable, "-c", code, str(living)]
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 143, done.stderr
    assert list(temporary.iterdir()) == []
    assert not living or not psutil.pid_exists(int(done.stdout))


def test_closing_twice_harms_no_later_file_of_this_process(temporary: Path) -> None:
    workspace = Workspace()
    workspace.close()
    with (temporary / "mine").open("wb") as file:  # takes the number of the closed descriptor
        workspace.close()
        file.write(b"x")


def test_leftovers_of_dead_owners_are_swept(temporary: Path, dead: int) -> None:
    folder = leftover(temporary, dead)
    Workspace().close()
    assert not folder.exists()


def test_folders_of_living_owners_are_kept(temporary: Path) -> None:
    mine, other = Workspace(), leftover(temporary, os.getppid())
    Workspace().close()
    assert mine.path.exists()
    assert other.exists()
    mine.close()


def test_a_folder_locked_by_an_owner_that_we_cannot_see_is_kept(temporary: Path, dead: int) -> None:
    """A container that shares /tmp has process ids of its own."""
    folder = leftover(temporary, dead)
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    Workspace().close()
    assert folder.exists()
    os.close(lock)
    Workspace().close()
    assert not folder.exists()


def test_the_owner_holds_that_lock(temporary: Path) -> None:
    with Workspace() as workspace:
        other = os.open(workspace.path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


@pytest.mark.parametrize("owner", ["", "me", "-1", "1e3", "²", "9" * 30, "9" * 9 + "x"])
def test_names_that_are_not_ours_are_left_alone(temporary: Path, owner: str) -> None:
    folder = leftover(temporary, owner)
    Workspace().close()
    assert folder.exists()


def test_a_link_is_never_followed(temporary: Path, dead: int, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_bytes(b"x")
    (temporary / f"modelcheck-run-{dead}-link").symlink_to(elsewhere)
    leftover(temporary, dead).joinpath("link").symlink_to(elsewhere)
    Workspace().close()
    assert (elsewhere / "precious").exists()


def test_no_temporary_folder_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(OutputNotWritten, match="Set TMPDIR") as caught:
        Workspace()
    assert caught.value.exit_code == 7
