"""What machine this is, as far as it changes results and speeds."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The processor's name: 'AMD EPYC'."""
    return _cpu_fact("model name") or platform.processor() or platform.machine()


def processor_features() -> str:
    """The processor's instruction sets, in the kernel's words; '' where it does not tell."""
    return _cpu_fact("flags") or _cpu_fact("Features")


def _cpu_fact(key: str) -> str:
    """The first core's line of this name in /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == key), "")
