"""OpenCL for real: fixtures and trained models on PoCL's device, judged against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest

from compatibility import OPENCL, POCL, Task, originals, targets
from compatibility_rows import Verdict

# Not in the default run: PoCL compiles kernels for seconds and runs them for more.
pytestmark = [pytest.mark.opencl, pytest.mark.real_models]
_ABSENT = not any(Path("/etc/OpenCL/vendors").glob("pocl*.icd"))
# No layer of these has OpenCL code.
FALL_BACK = {"digits_mlp"}
# A forward takes PoCL up to minutes on two cores; benchmarks/compatibility.py waits for them.
SLOW = {"super_resolution_subpixel", "road_seg_adas_0001", "prisma_seg", "tbefn_240x320"}


@pytest.fixture(autouse=True)
def pocl(monkeypatch: pytest.MonkeyPatch) -> None:
    if _ABSENT:
        pytest.skip("there is no PoCL (Debian: pocl-opencl-icd)")
    for name, value in POCL.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("task", originals(engine="classic"), ids=lambda task: task.model)
def test_what_classic_runs_is_right_on_opencl_and_launches_kernels(
    task: Task, tmp_path: Path
) -> None:
    if task.model in SLOW:
        pytest.skip("a forward takes PoCL up to minutes; see docs/compatibility.md")
    (row,) = task.run(tmp_path, {OPENCL: targets(None)[OPENCL]})
    if row.verdict is Verdict.TIMED_OUT:
        pytest.skip(f"PoCL is too slow for it on this machine: {row}")
    if task.model in FALL_BACK:
        assert row.verdict is Verdict.FELL_BACK, row
    else:
        assert row.verdict is Verdict.RIGHT, row
        assert int(row.launches.split()[0]) > 0
