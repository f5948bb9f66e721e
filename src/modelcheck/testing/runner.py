"""One long-lived child that checks models and runs them in onnxruntime, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelcheck.data.samples import Sample
from modelcheck.errors import ContainedFailure
from modelcheck.model import Model
from modelcheck.model.saving import write_private
from modelcheck.process import Closing, Workspace
from modelcheck.reference import Reference, ReferenceActivations

Outputs = dict[str, np.ndarray]


class Runner(Closing):
    """A Reference that takes models instead of paths and is started anew after a crash.

    Use as a context manager, once a test session: a start costs half a second, a small model
    some milliseconds.
    """

    def __init__(self) -> None:
        self._workspace = Workspace()
        self._reference: Reference | None = None

    def check(self, model: Model) -> None:
        """Raise InvalidInput unless onnx's own checker accepts the model."""
        path = self._workspace.path / "checked.onnx"
        write_private(model, path)
        try:
            self._child().check(path)
        except ContainedFailure:
            self._bury()
            raise

    def outputs(self, model: Model, *samples: Mapping[str, np.ndarray]) -> list[Outputs]:
        """What onnxruntime makes of each sample, by output name."""
        path = self._workspace.path / "model.onnx"
        write_private(model, path)
        try:
            child = self._child()
            child.load(path)
            results = [child.run(sample) for sample in samples]
            child.unload()
        except ContainedFailure:
            self._bury()
            raise
        return results

    def shapes(self, model: Model) -> dict[str, tuple[int | None, ...]]:
        """The shapes that onnx's shape inference finds, by value name."""
        return self._child().shapes(model)

    def activations(self, samples: Sequence[Mapping[str, np.ndarray]]) -> ReferenceActivations:
        """Activations on these samples, for transforms that calibrate."""
        given = [Sample(i, arrays, None, f"sample {i}") for i, arrays in enumerate(samples)]
        return ReferenceActivations(self._child(), given, self._workspace)

    def close(self) -> None:
        self._bury()
        self._workspace.close()

    def _child(self) -> Reference:
        if self._reference is None:
            self._reference = Reference()
        return self._reference

    def _bury(self) -> None:
        if self._reference is not None:
            self._reference.close()
        self._reference = None
