"""A reproduction as a folder that can be filed as it is: model, arrays, script, a page of text."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from modelcheck import units
from modelcheck.diagnose.evidence import Diagnosis, Reproduction
from modelcheck.errors import UsageError, printable
from modelcheck.model import save
from modelcheck.model.atomic import atomic_write, check_output, not_written
from modelcheck.targets import Engine, Target

FILES = ("model.onnx", "input.npz", "repro.py", "README.md")

_SCRIPT = '''"""{title}"""
from pathlib import Path

import cv2
import numpy as np

here = Path(__file__).resolve().parent
data = np.load(here / "input.npz")
{read}
{prefer}for name in data.files:
    if name != "expected":
        net.setInput(data[name], name)
actual = np.asarray(net.forward("output_0"), np.float64)
expected = data["expected"].astype(np.float64)
error = np.linalg.norm(actual.ravel() - expected.ravel()) / np.linalg.norm(expected)
print(f"OpenCV {{cv2.__version__}}: shape {{actual.shape}}, relative error {{error:.3g}}")
'''


def check_folder(folder: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Raise UsageError where the files may not be written: before the work."""
    where = printable(str(folder), limit=400)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("is no folder", where=where, remedy="Name a new folder with -o.")
    if not folder.parent.is_dir():
        raise UsageError("its parent folder does not exist", where=where, remedy="Make it first.")
    sources = list(inputs)
    for name in FILES:
        check_output(folder / name, sources, force=force)


def write_repro(found: Diagnosis, folder: Path) -> None:
    """Write the four files: all of them, or none. Raises OutputNotWritten."""
    assert found.reproduction is not None
    texts = {
        "input.npz": _arrays(found.reproduction),
        "repro.py": script(found).encode(),
        "README.md": _readme(found).encode(),
    }
    try:
        made = Path(tempfile.mkdtemp(prefix=".modelcheck-", dir=folder.parent))
    except OSError as error:
        raise not_written(folder, error, "Choose another folder with -o.") from error
    try:
        save(found.reproduction.model, made / "model.onnx", external_data=False)
        for name, content in texts.items():
            with atomic_write(made / name) as file:
                file.write(content)
        _publish(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def script(found: Diagnosis) -> str:
    """A script of cv2 and numpy alone that shows the error."""
    target = found.target
    assert found.worst is not None
    title = _plain(f"{found.worst.part.operators} on {target.name}")
    return _SCRIPT.format(title=title, read=_read(target), prefer=_prefer(target))


def _read(target: Target) -> str:
    path = 'str(here / "model.onnx")'
    if target.engine is Engine.AUTO:
        return f"net = cv2.dnn.readNetFromONNX({path})"
    name = f"ENGINE_{target.engine.upper()}"
    return (
        f'engine = {{"engine": cv2.dnn.{name}}} if hasattr(cv2.dnn, "{name}") else {{}}\n'
        f"net = cv2.dnn.readNetFromONNX({path}, **engine)"
    )


def _prefer(target: Target) -> str:
    if target.device == "cpu":
        return ""
    backend = "CUDA" if target.device.is_cuda else "OPENCV"
    name = target.device.replace("-", "_").upper()
    return (
        f"net.setPreferableBackend(cv2.dnn.DNN_BACKEND_{backend})\n"
        f"net.setPreferableTarget(cv2.dnn.DNN_TARGET_{name})\n"
    )


def _arrays(made: Reproduction) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**made.inputs, "expected": made.expected})  # type: ignore[arg-type]
    return buffer.getvalue()


def _readme(found: Diagnosis) -> str:
    made, worst = found.reproduction, found.worst
    assert made is not None
    assert worst is not None
    return f"""# {_plain(worst.part.operators)} on {_plain(found.target.name)}

`python repro.py` prints a relative error of {made.error:.3g}; it needs cv2 and numpy.

- OpenCV {found.opencv.version}, numpy {found.opencv.numpy}, Python {found.opencv.python}
- `model.onnx`: {units.plural(made.nodes, "operator")} at the layer `{_plain(worst.part.name)}`
  of `{_plain(found.candidate or found.original)}`
- `input.npz`: the inputs of one sample, and `expected`: {made.truth}
"""


def _plain(text: str) -> str:
    """Names come from files: nothing of them may end a docstring or a line."""
    return printable(text).replace("\\\\", "/").replace('"', "'").replace("`", "'")


def _publish(made: Path, folder: Path) -> None:
    try:
        if folder.exists():
            for name in FILES:
                (made / name).replace(folder / name)
        else:
            made.chmod(0o755)
            made.rename(folder)
    except OSError as error:
        raise not_written(folder, error, "Choose another folder with -o.") from error
