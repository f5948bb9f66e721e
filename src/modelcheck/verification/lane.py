"""A lane: original and candidate on one target, each in its own process.

Whatever befalls one of the processes becomes a check of this lane, with the blame where it
belongs; the other lanes go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelcheck.errors import ContainedFailure, ModelcheckError, Unsupported
from modelcheck.judge import Blame, Check, Outcome
from modelcheck.process import ChildLimits
from modelcheck.recipe import TargetSettings
from modelcheck.targets import (
    FellBack,
    NotProven,
    OpenCV,
    Placement,
    check_share,
)
from modelcheck.targets.pool import PoolSession
from modelcheck.verification.memory import Runs
from modelcheck.verification.placing import with_share

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Files:
    """Private copies of the models on disk, and the names of their outputs."""

    original: Path
    candidate: Path | None
    outputs: tuple[str, ...]


@dataclass
class Lane:
    """The two sessions of one target. A lane that has a `failure` takes no further part."""

    settings: TargetSettings
    files: Files
    limits: ChildLimits
    original: PoolSession | None = None
    candidate: PoolSession | None = None
    opencv: OpenCV | None = None
    original_placement: Placement | None = None
    candidate_placement: Placement | None = None
    original_runs: Runs | None = None  # in place of `original`, while samples are streamed
    failure: Check | None = None
    native_log: str = ""
    _circumstance: str = ""
    _waiting: tuple[Arrays, str] | None = None

    def run_live(self) -> None:
        """Run the original itself from now on."""
        self.original_runs = None

    @property
    def alive(self) -> bool:
        return self.failure is None

    def start(self) -> None:
        """Start the processes."""
        target = self.settings.target
        with self._blaming_target("there is no worker"):
            self.original = PoolSession(target, name="the original", limits=self.limits)
            if self.files.candidate is not None:
                self.candidate = PoolSession(target, name="the candidate", limits=self.limits)

    def load(self) -> None:
        """Load the models into them."""
        if not self.alive:
            return
        outputs = self.files.outputs
        assert self.original is not None
        with self._blaming_target("cannot load the original"):
            self.opencv = self.original.opencv()
            self.original_placement = self.original.load(self.files.original, outputs)
        if self.alive and self.candidate is not None and self.files.candidate is not None:
            with self._blaming_candidate("loads the original but not the candidate"):
                self.candidate_placement = self.candidate.load(self.files.candidate, outputs)

    def prove(
        self,
        arrays: Arrays,
        original_macs: Mapping[str, int] | None,
        candidate_macs: Mapping[str, int] | None,
    ) -> None:
        """Run both models until it is known where they run; MACs are by layer."""
        most = self.settings.limits.fallback_allowed()
        with self._blaming_target("cannot run the original"):
            assert self.original is not None
            placement = with_share(self.original.prove(arrays), original_macs)
            self.original_placement = placement
            check_share(placement, most)
        if self.alive and self.candidate is not None:
            with self._blaming_candidate("runs the original but not the candidate"):
                placement = with_share(self.candidate.prove(arrays), candidate_macs)
                self.candidate_placement = placement
                check_share(placement, most)

    @property
    def simulated(self) -> bool:
        """Whether the device is none: right or wrong can be judged there, speed cannot."""
        return self.original_placement is not None and self.original_placement.simulated

    @property
    def solo(self) -> bool:
        """Whether its processes run one at a time.

        cv2's threads spin while they wait: two nets with several threads each take far longer
        side by side than one after the other.
        """
        return self.settings.target.threads != 1

    def send(self, arrays: Arrays, *, key: str = "net") -> None:
        """Start a forward in both processes; in a solo lane `receive` does it all."""
        if self.solo:
            self._waiting = (arrays, key)
        else:
            self._send_original(arrays, key)
            self._send_candidate(arrays, key)

    def receive(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None] | None:
        """The outputs of both, or None when this lane has just failed."""
        expected: dict[str, np.ndarray] = {}
        actual: dict[str, np.ndarray] | None = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._send_original(*waiting)
        if self.alive:
            with self._blaming_target("cannot run the original"):
                runs = self.original_runs or self.original
                assert runs is not None
                expected = runs.receive()
        if waiting is not None:
            self._send_candidate(*waiting)
        if self.alive and self.candidate is not None:
            with self._blaming_candidate("runs the original but not the candidate"):
                actual = self.candidate.receive()
        return (expected, actual) if self.alive else None

    def _send_original(self, arrays: Arrays, key: str) -> None:
        with self._blaming_target("cannot run the original"):
            assert self.original is not None
            if self.original_runs is not None:
                self.original_runs.send(arrays)
            else:
                self.original.send(arrays, key=key)

    def _send_candidate(self, arrays: Arrays, key: str) -> None:
        if self.alive and self.candidate is not None:
            with self._blaming_candidate("runs the original but not the candidate"):
                self.candidate.send(arrays, key=key)

    def forward(
        self, arrays: Arrays, *, circumstance: str = ""
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None] | None:
        """Send and receive; a failure's message names the circumstance."""
        self._circumstance = circumstance
        self.send(arrays)
        answers = self.receive() if self.alive else None
        self._circumstance = ""
        return answers

    def fail(self, outcome: Outcome, blame: Blame, message: str) -> None:
        """Take this lane out, with a check that says why."""
        target = self.settings.target
        self.failure = Check(
            "runs",
            target.name,
            outcome,
            f"{target.name}: {message}",
            blame,
            optional=target.optional,
        )
        self.close()

    def close(self) -> None:
        for session in (self.original, self.candidate):
            if session is not None:
                session.close()

    @contextmanager
    def _blaming_target(self, what: str) -> Iterator[None]:
        """The original does not run here: the target's fault, never the candidate's."""
        try:
            yield
        except (FellBack, NotProven) as error:
            self.fail(Outcome.UNSUPPORTED, Blame.TARGET, f"the original {_reason(error)}")
        except (Unsupported, ContainedFailure) as error:
            self._note_log(error)
            self.fail(
                Outcome.UNSUPPORTED,
                Blame.TARGET,
                f"{what}{self._circumstance}: {_reason(error)}",
            )

    @contextmanager
    def _blaming_candidate(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FellBack, NotProven) as error:  # it runs: where, is what the target decides
            self.fail(Outcome.UNSUPPORTED, Blame.TARGET, f"the candidate {_reason(error)}")
        except (Unsupported, ContainedFailure) as error:
            self._note_log(error)
            self.fail(
                Outcome.FAIL, Blame.TRANSFORM, f"{what}{self._circumstance}: {_reason(error)}"
            )

    def _note_log(self, error: ModelcheckError) -> None:
        if isinstance(error, ContainedFailure):
            self.native_log = error.native_log


def _reason(error: ModelcheckError) -> str:
    remedy = f" {error.remedy}" if error.remedy else ""
    return f"{error.what.rstrip('.')}.{remedy}"
