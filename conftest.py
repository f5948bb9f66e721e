"""Settings of every test run: Hypothesis profiles, and no leftovers of the tool."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Native code runs in shared child processes, so an example has no deadline; CI repeats exactly.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=25, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("ci", max_examples=25, derandomize=True, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=500, **_COMMON)  # type: ignore[arg-type]
settings.load_profile("ci" if os.environ.get("CI") else "default")

# Tests run everything, and leave nothing in the user's cache, nor a ledger where they run.
os.environ["MODELCHECK_CACHE"] = ""
os.environ["MODELCHECK_LEDGER"] = ""

# Who starts the tests in the background may ignore SIGINT, and every process of theirs with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester"]
