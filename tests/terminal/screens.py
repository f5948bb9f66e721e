"""Runs the real command line and makes its screen comparable: figures that vary become words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TOOL = str(Path(sys.executable).with_name("modelcheck"))
_MASKS = (
    (r"\b[0-9a-f]{8}\b(?=   )", "<digest>"),
    (r"\b\d+(\.\d+)?x \[\d+\.\d+, (\d+\.\d+|…)\]", "<speed-up>"),
    (r"\b\d+(\.\d+)? (µs|ms|s)\b", "<time>"),
    (r"\b\d\.\d+e[+-]\d+\b", "<error>"),
    (r"\b0\.\d{6}\b|\b1\.000000\b", "<cosine>"),
    (r"(max-error|min-sqnr)([ =])[\d.e+-]+\b", r"\1\2<limit>"),
    (r"\b\d+\.\d dB", "<db>"),
    (r"(?<=<db>)  +\d+(?= |$)", "  <sample>"),
    (r"(?<=<cosine>) +\d+(?= *$)", "  <sample>"),
    (r"(?<=worst sample )\d+", "<sample>"),
    (r"(?<=channel )\d+", "<channel>"),
    (r"(OpenCV|onnxruntime|modelcheck) \d+\.\d+\.\d+", r"\1 <version>"),
    (r"\d{4}-\d\d-\d\dT[\d:+]+", "<when>"),
    (r"^WARNING .*\n", ""),
    (r"^.*: the machine was not quiet: .*\n", ""),
    (r"^[a-z, ]+: \d+( of \d+)?\n", ""),  # progress, which a quick machine has no need to tell
)


def screen(*arguments: str, cwd: Path, columns: int = 100) -> str:
    """What a user sees: standard output and error, and the exit code, with varying parts masked."""
    done = subprocess.run(
        [TOOL, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=dict(os.environ, COLUMNS=str(columns)),
        timeout=120,
        check=False,
    )
    shown = "$ modelcheck " + " ".join(arguments) + "\n"
    shown += done.stdout + (f"--- stderr\n{done.stderr}" if done.stderr else "")
    shown += f"--- exit {done.returncode}\n"
    return mask(shown)


def mask(text: str) -> str:
    """Mask what varies, and make columns that a masked figure has shifted single-spaced."""
    for pattern, word in _MASKS:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    lines = (re.sub(r"  +", "  ", line).rstrip() for line in text.split("\n"))
    return "\n".join(lines)
