"""Saving is atomic: the old file or the whole new one, whatever happens in between."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from save_in_a_loop import variants
from small_models import convnet, tensor, weight

from modelcheck.errors import OutputNotWritten, UsageError
from modelcheck.model import Model, load, save
from modelcheck.model.saving import check_writable, write_private

LOOP = Path(__file__).with_name("save_in_a_loop.py")


def _model(seed: int = 0) -> Model:
    proto = convnet()
    tensor(proto, "gb").CopyFrom(weight("gb", 5, seed=seed))
    return Model.from_proto(proto)


@pytest.mark.parametrize(
    ("form", "unfinished"), [("inline", "nameless"), ("inline", "named"), ("external", "nameless")]
)
def test_killed_saves_leave_the_old_file_or_the_whole_new_one(form, unfinished, tmp_path):
    output = tmp_path / "model.onnx"
    models = variants()
    save(models[0], output, external_data=form == "external")
    rng = random.Random(0)
    with subprocess.Popen(
        [sys.executable, str(LOOP), str(output), form, unfinished],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as saving:  # fmt: skip
        assert saving.stdin is not None
        assert saving.stdout is not None
        for _ in range(20):
            print("save", file=saving.stdin, flush=True)
            child = int(saving.stdout.readline())
            time.sleep(rng.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            print("reap", file=saving.stdin, flush=True)
            assert saving.stdout.readline() == "reaped\n"

            assert load(output) in models
        saving.stdin.close()

    save(models[1], output, external_data=form == "external")
    expected = {"model.onnx"}
    if form == "external":
        expected.add(f"model.onnx.{models[1].digest[:12]}.data")
    assert {p.name for p in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("external_data", [False, True])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(external_data, tmp_path):
    """A limit on file size stands for the full disk: the system refuses in mid-write."""
    output = tmp_path / "model.onnx"
    save(_model(), output)
    before = output.read_bytes()
    large = convnet()
    large.graph.initializer.append(weight("unused", 300_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(OutputNotWritten) as caught:
            save(Model.from_proto(large), output, external_data=external_data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.exit_code == 7
    assert "model.onnx" in str(caught.value)
    assert output.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_no_space_left_is_said_in_these_words(tmp_path):
    if not _mounted(tmp_path):
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        large = convnet()
        large.graph.initializer.append(weight("unused", 300_000))
        with pytest.raises(OutputNotWritten, match="no space is left"):
            save(Model.from_proto(large), tmp_path / "model.onnx")
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _mounted(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("place", ["nowhere/model.onnx", "a-file/model.onnx", "/proc/model.onnx"])
def test_a_folder_that_cannot_be_written_is_known_before_the_work(place, tmp_path):
    (tmp_path / "a-file").write_text("text")
    for write in (lambda path: save(_model(), path), check_writable):
        with pytest.raises(OutputNotWritten) as caught:
            write(tmp_path / place)
        assert caught.value.exit_code == 7
        assert "-o" in str(caught.value)
    assert os.listdir(tmp_path) == ["a-file"]


def test_checking_that_an_output_can_be_written_writes_nothing(tmp_path):
    check_writable(tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_a_private_copy_that_does_not_fit_is_an_output_not_written(tmp_path):
    with pytest.raises(OutputNotWritten, match="TMPDIR"):
        write_private(_model(), tmp_path / "nowhere" / "model.onnx")


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for external in (False, True):
        files = [tmp_path / f"{i}" / "model.onnx" for i in range(2)]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            save(_model(), file, external_data=external)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_data_of_an_overwritten_model_are_removed(tmp_path):
    output = tmp_path / "model.onnx"
    for model in (_model(1), _model(2)):
        save(model, output, external_data=True)
    assert load(output) == _model(2)
    assert len(list(tmp_path.iterdir())) == 2
    save(_model(3), output)
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_data_that_another_model_uses_stay(tmp_path):
    output, copy = tmp_path / "model.onnx", tmp_path / "copy.onnx"
    save(_model(1), output, external_data=True)
    copy.write_bytes(output.read_bytes())
    save(_model(2), output, external_data=True)
    assert load(copy) == _model(1)
    assert load(output) == _model(2)


def test_data_files_of_other_makers_stay(tmp_path):
    (tmp_path / "model.onnx.data").write_bytes(b"mine")
    (tmp_path / "model.onnx.0123456789ab.bin").write_bytes(b"mine")
    save(_model(), tmp_path / "model.onnx", external_data=True)
    save(_model(1), tmp_path / "model.onnx", external_data=True)
    assert (tmp_path / "model.onnx.data").exists()
    assert (tmp_path / "model.onnx.0123456789ab.bin").exists()


def test_a_model_saved_over_itself_keeps_its_external_weights(tmp_path):
    """The weights are read from the very file that is replaced."""
    output = tmp_path / "model.onnx"
    save(_model(), output, external_data=True)
    model = load(output)
    save(model, output, external_data=True)
    assert load(output) == model == _model()


def test_a_model_beyond_two_gibibytes_does_not_fit_into_one_file(tmp_path):
    import numpy as np
    import onnx_ir as ir

    graph = _model().edit()
    huge = np.broadcast_to(np.float32(0), (2**29, 1))  # 2 GiB that take four bytes
    value = ir.Value(name="huge", const_value=ir.Tensor(huge, name="huge"))
    graph.graph.register_initializer(value)
    with pytest.raises(UsageError, match="external data"):
        save(Model.freeze(graph), tmp_path / "model.onnx", external_data=False)


def test_onnx_itself_reads_what_was_saved(tmp_path):
    for external in (False, True):
        save(_model(), tmp_path / "model.onnx", external_data=external)
        assert Model.from_proto(onnx.load(tmp_path / "model.onnx")) == _model()
