"""A device that disappears or hangs in the middle of a run is an outcome, and nothing passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.data import open_samples
from modelcheck.judge import Blame, Outcome
from modelcheck.model import load
from modelcheck.process import ChildLimits
from modelcheck.recipe import CheckKind, Judging, TargetSettings
from modelcheck.targets import Target, TargetSession
from modelcheck.targets import session as target_session
from modelcheck.verification import Plan, TargetResult, Verified, verify

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FORWARD = "    def forward(self, header, arrays):\n"


pytestmark = [pytest.mark.long, pytest.mark.usefixtures("pocl")]


def judged(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> TargetResult:
    """A verification on OpenCL whose worker does this first in every forward.

    `count` is the number of forwards that the process has run.
    """
    real = Path(target_session.__file__).parent
    text = (real / "worker.py").read_text()
    assert FORWARD in text
    body = "".join(f"        {line}\n" for line in (
        "count = self.__dict__.setdefault('count', 0)", "self.count += 1", *lines,
    ))  # fmt: skip
    (folder / "worker.py").write_text(text.replace(FORWARD, FORWARD + body))
    for other in real.glob("worker_*.py"):
        (folder / other.name).symlink_to(other)
    monkeypatch.setattr(target_session, "_WORKER", folder / "worker.py")
    with TargetSession(Target(), name="the test") as session:
        classic = "classic" in session.opencv().engines
    target = Target.parse("opencl:classic" if classic else "opencl")
    net = load(FIXTURES / "digits_resnet.onnx")
    plan = Plan(
        net, None, open_samples(FIXTURES / "digits_test.npz", net.signature, count=12),
        (TargetSettings(target),), judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
        child_limits=ChildLimits(request_s=20.0),
    )  # fmt: skip
    *_, last = verify(plan)
    assert isinstance(last, Verified)
    return last.result.targets[0]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("no kernel", "if count == 6: self._launches.remove()"),
        ("no answer within", "if count == 6: time.sleep(1000)"),
        ("died of SIGABRT", "if count == 6: os.abort()"),
        ("CL_DEVICE_NOT_AVAILABLE", "if count == 6: raise RuntimeError('CL_DEVICE_NOT_AVAILABLE')"),
    ],
    ids=["falls back", "hangs", "crashes", "refuses"],
)
def test_a_device_that_stops_answering_is_unsupported_and_blamed(
    what: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = judged(monkeypatch, tmp_path, line)
    assert found.outcome is Outcome.UNSUPPORTED, found.checks
    failure = found.checks[-1]
    assert failure.blame is Blame.TARGET
    assert what in failure.message
    assert found.settings.target.name in failure.message
