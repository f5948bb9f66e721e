"""Settings of every test run: Hypothesis profiles, and no leftovers of the tool."""

from __future__ import annotations

import os

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

pytest_plugins = ["pytester"]
