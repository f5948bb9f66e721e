"""Children that misbehave on request, and what tests ask of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

from modelcheck.process import Child, ChildLimits

WORKER = Path(__file__).with_name("odd_worker.py")
MIB = 1 << 20


def odd_child(**limits: float) -> Child:
    settings = {"request_s": 20.0, **limits}
    return Child(WORKER, name="the odd child", limits=ChildLimits(**settings))  # type: ignore[arg-type]


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process is dead, or dies within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def start_python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
