"""The machine's fingerprint: what must be the same for two measurements to be compared."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from modelcheck.process.machine import processor, processor_features

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_SHOWN_FEATURES = 6


def fingerprint() -> dict[str, str]:
    """Plain texts; a fact that this system does not tell is ''."""
    return {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "features": " ".join(sorted(processor_features().split())),
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "governor": _text_of(_GOVERNOR),
    }


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What differs, in words: 'processor: AMD EPYC there, Intel Xeon here'."""
    found = []
    for fact in sorted({*there, *here}):
        before, now = there.get(fact, ""), here.get(fact, "")
        if before == now:
            continue
        if fact == "features":
            before, now = _only_in(before, now), _only_in(now, before)
        found.append(f"{fact}: {before or 'none'} there, {now or 'none'} here")
    return found


def _only_in(these: str, others: str) -> str:
    words = sorted(set(these.split()) - set(others.split()))
    return " ".join(words[:_SHOWN_FEATURES]) + (" …" if len(words) > _SHOWN_FEATURES else "")


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
