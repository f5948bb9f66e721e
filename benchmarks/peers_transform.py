"""One transform by one peer: its environment, its process, and what became of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Peak
from modelcheck import units
from peers_rows import Outcome

_SCRIPT = Path(__file__).resolve().with_name("peers_tools.py")
_COMMON = ("onnx==1.23.2", "numpy==2.4.6", "onnxruntime==1.32.0")
# sympy is what onnxruntime infers symbolic shapes with.
ENVIRONMENTS = {
    "onnxslim": ("onnxslim==0.1.98", *_COMMON),
    "onnxsim": ("onnxsim==0.8.1", *_COMMON),
    "onnxruntime": (*_COMMON, "sympy==1.14.0"),
    "nncf": ("nncf==3.4.0", *_COMMON),
}
_POLL_S = 0.05
_REASON_CHARACTERS = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\[0;[0-9]+m")


def environment_of(peer: str) -> str:
    return "onnxruntime" if peer.startswith("ort-") else peer


def recipe_of(peer: str) -> str:
    """What decides a transform, as text: the packages, and the script that calls them."""
    packages = ", ".join(ENVIRONMENTS[environment_of(peer)])
    return f"{packages}, {_SCRIPT.name} {digest_of(_SCRIPT)}"


@dataclass(frozen=True)
class Allowed:
    """What a transform may use."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a process ended, with its wall time and the peak of its memory with its children."""

    outcome: Outcome
    reason: str
    seconds: float
    peak_bytes: int


class NoEnvironment(Exception):
    """pip could not make it."""


@dataclass(frozen=True)
class Environments:
    """The peers' virtual environments in a folder, each made when it is first asked for."""

    folder: Path

    def python(self, peer: str) -> Path:
        """Raises NoEnvironment with pip's last words."""
        name = environment_of(peer)
        # Other versions are another environment.
        packages = ENVIRONMENTS[name]
        digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
        folder = self.folder / f"{name}-{digest}"
        python, complete = folder / "bin" / "python", folder / "complete"
        if not complete.exists():
            venv.create(folder, with_pip=True, clear=True)
            made = subprocess.run(
                [python, "-m", "pip", "install", "-q", *packages],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if made.returncode:
                raise NoEnvironment(_last_words(made.stderr))
            complete.touch()
        return python


def transform(
    peer: str, model: Path, calibration: Path, out: Path, environments: Environments,
    allowed: Allowed,
) -> Ended:  # fmt: skip
    """Let a peer write `out`; whatever goes wrong is the outcome."""
    try:
        python = environments.python(peer)
    except NoEnvironment as error:
        return Ended(Outcome.NO_ENVIRONMENT, str(error), 0.0, 0)
    command = [python, _SCRIPT, peer, model, calibration, out]
    ended = run_limited([str(word) for word in command], out.parent, allowed)
    if ended.outcome is Outcome.MADE and not out.exists():
        return Ended(Outcome.REFUSED, "it wrote no file", ended.seconds, ended.peak_bytes)
    return ended


def run_limited(command: Sequence[str], folder: Path, allowed: Allowed) -> Ended:
    """Run a command to its end, or to that of its time or memory.

    Memory is counted, not capped: what reserves addresses is not using them.
    """
    log = folder / "log.txt"
    start_s = time.perf_counter()
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        peak = Peak(process.pid)
        ended: tuple[Outcome, str] | None = None
        while ended is None:
            try:
                ended = _how(process.wait(timeout=_POLL_S), log)
            except subprocess.TimeoutExpired:
                ended = _over(time.perf_counter() - start_s, peak.bytes, allowed)
        seconds = time.perf_counter() - start_s
        _kill(process)
        peak.stop()
    return Ended(*ended, seconds, peak.bytes)


def _over(seconds: float, peak_bytes: int, allowed: Allowed) -> tuple[Outcome, str] | None:
    if seconds > allowed.seconds:
        return Outcome.TIMED_OUT, f"not done within {units.duration(allowed.seconds)}"
    if peak_bytes > allowed.memory_bytes:
        return Outcome.OUT_OF_MEMORY, f"more than {units.size(allowed.memory_bytes)}"
    return None


def _how(code: int, log: Path) -> tuple[Outcome, str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    # Where this machine keeps its files says nothing of a peer.
    said = _last_words(text.replace(f"{log.parent}/", ""))
    if code == 0:
        return Outcome.MADE, ""
    if code == -signal.SIGKILL:
        return Outcome.OUT_OF_MEMORY, "killed by the system, most likely for lack of memory"
    if "NothingToLeave" in said:
        return Outcome.NOT_APPLICABLE, said
    if code < 0:
        return Outcome.DIED, f"{signal.Signals(-code).name}. {said}".strip()
    if "MemoryError" in said or "bad_alloc" in said:
        return Outcome.OUT_OF_MEMORY, said
    return Outcome.REFUSED, said


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it started and left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: str) -> str:
    """The last line that names an error, else the last one; without colours and places."""
    lines = [_COLOURS.sub("", line).strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b.*:", line)]
    return (named or lines or ["it gave no reason"])[-1][:_REASON_CHARACTERS]


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
