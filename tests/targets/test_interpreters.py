"""Other interpreters: one run compares versions of OpenCV, and says what an environment lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from modelcheck.errors import ModelcheckError, OutOfMemory, TimedOut, Unsupported
from modelcheck.process import ChildLimits
from modelcheck.targets import OpenCV, Target, TargetSession

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SITE = Path(sysconfig.get_paths()["purelib"])

Environment = Callable[..., str]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing installed."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


@pytest.fixture
def environment(bare: Path) -> Iterator[Environment]:
    """A function that fills the environment with links to our packages and with made-up files."""
    site = next((bare / "lib").glob("python3*")) / "site-packages"
    made: list[Path] = []

    def fill(*packages: str, **files: str) -> str:
        for pattern in packages:
            for package in SITE.glob(pattern):
                made.append(site / package.name)
                made[-1].symlink_to(package)
        for name, text in files.items():
            made.append(site / f"{name}.py")
            made[-1].write_text(text)
        return str(bare / "bin" / "python")

    yield fill
    for path in made:
        path.unlink()


def hello(python: str, **limits: float) -> OpenCV:
    target = Target(python=python)
    with TargetSession(target, name="it", limits=ChildLimits(**limits)) as session:  # type: ignore[arg-type]
        return session.opencv()


def refusal(python: str, **limits: float) -> ModelcheckError:
    with pytest.raises(ModelcheckError) as caught:
        hello(python, **limits)
    return caught.value


def test_an_interpreter_with_numpy_and_cv2_is_all_that_a_target_needs(
    environment: Environment,
) -> None:
    python = environment("numpy", "numpy.libs", "cv2", "opencv_python*")
    with TargetSession(Target(python=python), name="it") as session:
        assert session.opencv() == hello(sys.executable)
        assert python in session.load(FIXTURES / "digits_mlp.onnx", ["logits"]).requested
        image = np.load(FIXTURES / "digits_test.npz")["image"][:3]
        assert session.forward({"image": image})["logits"].shape == (3, 10)


@pytest.mark.skipif(
    "MODELCHECK_OPENCV414" not in os.environ,
    reason="MODELCHECK_OPENCV414 names no interpreter that has OpenCV 4.14",
)
def test_two_versions_of_opencv_answer_side_by_side() -> None:
    image = {"image": np.load(FIXTURES / "digits_test.npz")["image"][:3]}
    answers = {}
    for python in (None, os.environ["MODELCHECK_OPENCV414"]):
        with TargetSession(Target(python=python), name="it") as session:
            session.load(FIXTURES / "digits_resnet.onnx", ["logits"])
            answers[session.opencv().version] = session.forward(image)["logits"]
    assert "4.14.0" in answers
    here, there = answers.values()
    np.testing.assert_allclose(here, there, atol=1e-4)


def test_without_numpy_it_is_numpy_that_is_missed(environment: Environment) -> None:
    error = refusal(environment())
    assert isinstance(error, Unsupported)
    assert error.exit_code == 4
    assert "No module named 'numpy'" in error.what
    assert "numpy" in (error.remedy or "")


def test_without_cv2_the_remedy_installs_it(environment: Environment) -> None:
    python = environment("numpy", "numpy.libs")
    error = refusal(python)
    assert isinstance(error, Unsupported)
    assert "No module named 'cv2'" in error.what
    assert "pip install opencv-python-headless" in (error.remedy or "")
    assert error.where == python


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_a_library_of_the_desktop_that_is_missing_calls_for_headless(
    library: str, environment: Environment
) -> None:
    text = f"{library}: cannot open shared object file: No such file or directory"
    error = refusal(environment("numpy", "numpy.libs", cv2=f"raise ImportError({text!r})"))
    assert isinstance(error, Unsupported)
    assert library in error.what
    assert "opencv-python-headless" in (error.remedy or "")


def test_a_numpy_that_does_not_fit_is_named(environment: Environment) -> None:
    text = (
        "A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.0\nnumpy.core failed"
    )
    error = refusal(environment("numpy", "numpy.libs", cv2=f"raise ImportError({text!r})"))
    assert isinstance(error, Unsupported)
    assert "numpy" in (error.remedy or "")


@pytest.mark.parametrize(
    ("cv2", "said"),
    [
        ("import os; os.abort()", "died of SIGABRT"),
        ("import sys; sys.exit(7)", "ended with code"),
        ("__version__ = '9'", "no attribute"),
        ("1 / 0", "division by zero"),
        ("raise ImportError", "gives no reason"),
        ("raise ImportError('\\x1b[2J' * 1000)", r"\x1b[2J"),
    ],
)
def test_a_cv2_that_cannot_be_used_is_unsupported_and_says_why(
    cv2: str, said: str, environment: Environment
) -> None:
    error = refusal(environment("numpy", "numpy.libs", cv2=cv2))
    assert isinstance(error, Unsupported)
    assert said in error.what
    assert len(error.what) < 500
    assert error.what.isprintable()
    assert error.remedy


def test_what_an_import_before_the_first_request_met_is_said_by_it(
    environment: Environment,
) -> None:
    """Like the real cv2, this one has another complaint when it is imported again."""
    cv2 = """
import sys
if hasattr(sys, "tried"):
    raise ImportError("recursion is detected")
sys.tried = True
print("tried", file=sys.stderr, flush=True)
raise ImportError("libGL.so.1: cannot open shared object file")
"""
    python = environment("numpy", "numpy.libs", cv2=cv2)
    with TargetSession(Target(python=python), name="it") as session:
        deadline = time.monotonic() + 20
        while "tried" not in session._child.log_tail() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(Unsupported, match="libGL"):
            session.opencv()


def test_a_cv2_that_hangs_is_a_time_out_after_the_time_for_starting(
    environment: Environment,
) -> None:
    python = environment("numpy", "numpy.libs", cv2="import time; time.sleep(60)")
    error = refusal(python, start_s=1.0, request_s=100.0)
    assert isinstance(error, TimedOut)


def test_too_little_memory_for_cv2_is_not_called_a_missing_package() -> None:
    error = refusal(sys.executable, memory_bytes=150 << 20)
    assert isinstance(error, OutOfMemory)
    assert "--memory-limit" in (error.remedy or "")


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python", str(FIXTURES)])
def test_what_is_no_interpreter_is_unsupported(python: str) -> None:
    error = refusal(python)
    assert isinstance(error, Unsupported)
    assert error.exit_code == 4
    assert error.where == python
    assert "cannot be started" in error.what
    assert "Python 3.8 or newer" in (error.remedy or "")


def test_a_program_that_is_no_python_is_unsupported() -> None:
    error = refusal("/bin/true")
    assert isinstance(error, Unsupported)
    assert "ended with code 0" in error.what
