"""onnx's checker, its shape inference and onnxruntime float32, spoken to from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelcheck.errors import ContainedFailure, InvalidInput, Unsupported
from modelcheck.model import Model
from modelcheck.model.float32 import as_float32
from modelcheck.model.saving import write_private
from modelcheck.process import Answer, Child, ChildLimits, Closing, Refused, Workspace

_WORKER = Path(__file__).with_name("worker.py")
_NO_OPERATOR = ("no op registered", "no opset import", "no schema registered")
_DTYPES: dict[str, np.dtype] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}


class Reference(Closing):
    """A child process that checks models and runs them in onnxruntime. Use as a context manager.

    Every method raises ContainedFailure (exit 6), its stage named, where the child died, hung or
    ran out of memory; the child is gone then.
    """

    def __init__(self, *, threads: int = 1, limits: ChildLimits | None = None) -> None:
        self._threads = threads
        self._limits = limits or ChildLimits()
        self._child = Child(_WORKER, name="the reference", limits=limits)
        self._dtypes: dict[str, dict[str, np.dtype]] = {}

    def check(self, path: Path) -> None:
        """Ask onnx's own checker, shape inference included.

        Raises InvalidInput where it refuses the model, Unsupported where it knows no such
        operator.
        """
        try:
            self._request("onnx's checker", "check", path=str(path))
        except Refused as error:
            if any(text in error.what.lower() for text in _NO_OPERATOR):
                raise Unsupported(
                    _first_line(error.what),
                    where=path.name,
                    remedy="Only operators of the ONNX standard are supported.",
                ) from error
            raise InvalidInput(
                f"onnx's checker refuses it: {_first_line(error.what)}",
                where=path.name,
                remedy="Export the model again, or repair it.",
            ) from error

    def shapes(
        self, source: Model | Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, tuple[int | None, ...]]:
        """The shape of every value that can be inferred, by name; None for a free dimension.

        `input_shapes` fixes free inputs. A Model is sent without its weights; of a file, weights
        beside it are not read.
        """
        fields: dict[str, Any] = {
            "inputs": {name: list(shape) for name, shape in (input_shapes or {}).items()}
        }
        arrays = {}
        if isinstance(source, Model):
            arrays["skeleton"] = np.frombuffer(source.skeleton.SerializeToString(), np.uint8)
        else:
            fields["path"] = str(source)
        try:
            answer = self._request("shape inference", "shapes", arrays, **fields)
        except Refused as error:
            raise InvalidInput(
                f"shape inference refuses it: {_first_line(error.what)}", where=source.name
            ) from error
        return {name: tuple(dims) for name, dims in answer.fields["shapes"].items()}

    def load(
        self,
        path: Path,
        key: str = "model",
        *,
        optimize: bool = True,
        watch: str = "",
        keep: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        """Open a model under a key. Raises Unsupported where onnxruntime cannot.

        `watch`, `keep` and `strides` say what runs with op='observe' collect (worker.py).
        """
        try:
            answer = self._request(
                "onnxruntime", "load", key=key, path=str(path), threads=self._threads,
                optimize=optimize, watch=watch, keep=list(keep), strides=list(strides),
            )  # fmt: skip
        except Refused as error:
            raise Unsupported(
                f"onnxruntime cannot load it: {_first_line(error.what)}",
                where=path.name,
                remedy="Without the float32 reference nothing can be proved about this model.",
            ) from error
        inputs = answer.fields["inputs"]
        self._dtypes[key] = {n: _DTYPES[str(t)] for n, t in inputs.items() if t in _DTYPES}

    def send(
        self, sample: Mapping[str, np.ndarray], *, key: str = "model", op: str = "run"
    ) -> None:
        """Start a run; pair it with `receive`, so that other children work at the same time.

        A float16 array is cast where the model takes float32, and the other way round.
        """
        self._child.send(op, self._cast(sample, key), key=key)

    def receive(self) -> dict[str, np.ndarray]:
        """The outputs of the run last sent, by name."""
        try:
            # The time runs from here: other processes were waited for since the request.
            return self._child.receive(timeout_s=self._limits.request_s).arrays
        except Refused as error:
            raise Unsupported(
                f"onnxruntime cannot run it: {_first_line(error.what)}", where="the reference"
            ) from error
        except ContainedFailure as error:
            raise error.at("onnxruntime") from None

    def run(self, sample: Mapping[str, np.ndarray], *, key: str = "model") -> dict[str, np.ndarray]:
        """The outputs of one sample, by name."""
        self.send(sample, key=key)
        return self.receive()

    def observed(self, *, key: str) -> dict[str, np.ndarray]:
        """The statistics that the runs with op='observe' have left in the child."""
        return self._request("onnxruntime", "observed", key=key).arrays

    def unload(self, key: str = "model") -> None:
        self._request("onnxruntime", "unload", key=key)

    def close(self) -> None:
        self._child.close()

    def _request(
        self, stage: str, op: str, arrays: Mapping[str, np.ndarray] | None = None, **fields: Any
    ) -> Answer:
        try:
            # The first of these imports a library, and some read the whole model.
            patience_s = max(self._limits.start_s, self._limits.request_s)
            return self._child.request(op, arrays, timeout_s=patience_s, **fields)
        except ContainedFailure as error:
            raise error.at(stage) from None

    def _cast(self, sample: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
        wanted = self._dtypes[key]
        return {
            name: _as_float(array, wanted[name]) if name in wanted else array
            for name, array in sample.items()
        }


def open_reference(
    model: Model,
    workspace: Workspace,
    *,
    threads: int = 1,
    limits: ChildLimits | None = None,
) -> Reference:
    """A Reference that holds `model` in float32 under the key 'model'."""
    path = workspace.path / "reference.onnx"
    write_private(as_float32(model), path)
    reference = Reference(threads=threads, limits=limits)
    try:
        reference.load(path)
    except BaseException:
        reference.close()
        raise
    return reference


def _as_float(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return array.astype(dtype, copy=False) if array.dtype in _DTYPES.values() else array


def _first_line(text: str) -> str:
    """Native errors span lines and carry code locations; keep what they say."""
    words = " ".join(text.split())
    for mark in ("[ONNXRuntimeError] : ", "Context: "):
        words = words.replace(mark, "")
    return words[:300]
