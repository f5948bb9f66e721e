"""An output is a new plain file that one run writes at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelcheck.errors import OutputNotWritten, UsageError
from modelcheck.model.saving import atomic_write, check_output, output_lock


def _file(path: Path) -> Path:
    path.write_bytes(b"content")
    return path


def test_a_new_name_may_be_written(tmp_path):
    check_output(tmp_path / "new.onnx", [_file(tmp_path / "model.onnx")])


def test_an_existing_file_is_replaced_only_by_force(tmp_path):
    old = _file(tmp_path / "old.onnx")
    with pytest.raises(UsageError, match="--force") as caught:
        check_output(old)
    assert caught.value.exit_code == 2
    check_output(old, force=True)


@pytest.mark.parametrize("way", ["the same path", "another path", "a hard link", "a symbolic link"])
def test_an_input_is_never_an_output_not_even_by_force(way, tmp_path):
    source = _file(tmp_path / "model.onnx")
    output = tmp_path / "other.onnx"
    if way == "the same path":
        output = source
    elif way == "another path":
        (tmp_path / "sub").mkdir()
        output = tmp_path / "sub" / ".." / "model.onnx"
    elif way == "a hard link":
        os.link(source, output)
    else:
        output.symlink_to(source)
    with pytest.raises(UsageError, match=r"is the input 'model\.onnx' itself"):
        check_output(output, [source], force=True)


@pytest.mark.parametrize("kind", ["a folder", "a symbolic link", "a named pipe", "a device"])
def test_what_is_no_plain_file_is_no_output_not_even_by_force(kind, tmp_path):
    path = tmp_path / "out.onnx"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a symbolic link":
        path.symlink_to("nowhere")
    elif kind == "a named pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/null")
    with pytest.raises(UsageError, match=kind):
        check_output(path, force=True)


def test_a_name_that_no_file_can_have_is_refused_at_once(tmp_path):
    for name in ("n" * 300, "a\0b"):
        with pytest.raises(UsageError, match="cannot be an output"):
            check_output(tmp_path / name)


def test_an_exception_inside_the_block_leaves_the_old_file(tmp_path):
    path = _file(tmp_path / "old.json")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["old.json"]


def test_a_second_run_on_one_output_is_turned_away(tmp_path):
    path = tmp_path / "out.onnx"
    with output_lock(path):
        with pytest.raises(OutputNotWritten, match="another run") as caught, output_lock(path):
            pass
        assert caught.value.exit_code == 7
        with output_lock(tmp_path / "other.onnx"):
            pass
    assert os.listdir(tmp_path) == []
    with output_lock(path):
        pass


def test_writing_does_not_sweep_a_lock_that_is_held(tmp_path):
    path = tmp_path / "out.onnx"
    with output_lock(path):
        with atomic_write(path) as file:
            file.write(b"content")
        with pytest.raises(OutputNotWritten), output_lock(path):
            pass


def test_a_killed_run_does_not_bind_the_next(tmp_path):
    path = tmp_path / "out.onnx"
    script = (
        "import sys, time; from pathlib import Path\n"
        "from modelcheck.model.saving import output_lock\n"
        "with output_lock(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(OutputNotWritten), output_lock(path):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(os.listdir(tmp_path)) == 1

    with output_lock(path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_lock_left_behind_is_swept_by_the_next_write(tmp_path):
    (tmp_path / ".modelcheck-0123456789abcdef.lock").touch()
    (tmp_path / ".modelcheck-1-aa.part").write_bytes(b"half")
    with atomic_write(tmp_path / "out.json") as file:
        file.write(b"{}")
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_lock_has_one_holder_at_a_time_however_many_ask(tmp_path):
    path = tmp_path / "out.onnx"
    inside: list[int] = []
    seen: list[int] = []

    def run() -> None:
        for _ in range(50):
            try:
                with output_lock(path):
                    inside.append(1)
                    seen.append(len(inside))
                    inside.pop()
            except OutputNotWritten:
                pass

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen
    assert set(seen) == {1}
    assert os.listdir(tmp_path) == []


def test_a_lock_in_a_folder_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputNotWritten, match="-o"), output_lock(tmp_path / "no" / "out.onnx"):
        pass
