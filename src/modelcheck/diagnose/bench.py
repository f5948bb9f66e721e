"""Where sub-models are run: the target's worker, and the float32 reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from modelcheck.errors import ContainedFailure, ModelcheckError, Unsupported
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Closing, Workspace
from modelcheck.reference import Reference
from modelcheck.targets import OpenCV, Target, TargetSession

Arrays = Mapping[str, np.ndarray]
_KEY = "part"


@dataclass(frozen=True, slots=True)
class NotRun:
    """Why a sub-model does not run there."""

    reason: str


Answers = list[dict[str, np.ndarray]] | NotRun


class Bench(Closing):
    """One worker of the target and one reference; a worker that dies is replaced.

    `limits` bound every request.
    """

    def __init__(
        self, target: Target, workspace: Workspace, *, limits: ChildLimits, threads: int = 1
    ) -> None:
        self.target = target
        self._limits = limits
        self._path = workspace.path / "part.onnx"
        self._reference = Reference(threads=threads, limits=limits)
        self._session: TargetSession | None = None

    @property
    def reference(self) -> Reference:
        return self._reference

    def opencv(self) -> OpenCV:
        """Raises Unsupported where there is none."""
        return self._worker().opencv()

    def on_target(self, model: Model, samples: Sequence[Arrays], outputs: int = 1) -> Answers:
        """What the target makes of each sample; a refusal, a crash or a time-out is an answer."""
        write_private(model, self._path)
        try:
            session = self._worker()
            session.load(self._path, [f"output_{i}" for i in range(outputs)], key=_KEY)
            answers = [session.forward(_read_by(model, s), key=_KEY) for s in samples]
            session.unload(_KEY)
        except Unsupported as error:
            return NotRun(error.what)
        except ContainedFailure as error:
            self._session = None
            return NotRun(error.what)
        return answers

    def whole(
        self, model: Model, outputs: Sequence[str], samples: Sequence[Arrays]
    ) -> list[dict[str, np.ndarray]]:
        """The outputs of a whole model on the target, where it is proven to run.

        Raises Unsupported and ContainedFailure as a session does; the next request starts afresh.
        """
        write_private(model, self._path)
        session = self._worker()
        try:
            session.load(self._path, outputs, key=_KEY)
            session.prove(samples[0], key=_KEY)
            answers = [session.forward(arrays, key=_KEY) for arrays in samples]
            session.unload(_KEY)
        except ContainedFailure:
            self._session = None
            raise
        return answers

    def in_reference(self, model: Model, samples: Sequence[Arrays]) -> Answers:
        """What onnxruntime makes of each sample, in float32."""
        try:
            with self.loaded(model):
                return [self.run(_read_by(model, sample)) for sample in samples]
        except Unsupported as error:
            return NotRun(error.what)

    @contextmanager
    def loaded(self, model: Model) -> Iterator[Reference]:
        """The reference with this model under the key of `run`."""
        write_private(as_float32(model), self._path)
        self._reference.load(self._path, key=_KEY)
        try:
            yield self._reference
        finally:
            with suppress(ModelcheckError):  # a child that died has nothing loaded
                self._reference.unload(_KEY)

    def run(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """One sample through what is `loaded`."""
        return self._reference.run(arrays, key=_KEY)

    def close(self) -> None:
        self._reference.close()
        if self._session is not None:
            self._session.close()

    def _worker(self) -> TargetSession:
        if self._session is None:
            self._session = TargetSession(self.target, name="diagnosis", limits=self._limits)
        return self._session


def _read_by(model: Model, sample: Arrays) -> Arrays:
    return {str(v.name): sample[str(v.name)] for v in model.graph.inputs if v.name in sample}
