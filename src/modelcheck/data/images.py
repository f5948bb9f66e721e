"""Samples from a folder of images, decoded and preprocessed by cv2 in a child process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from modelcheck.data.folders import Listing
from modelcheck.data.preprocessing import Preprocessing
from modelcheck.data.samples import Samples
from modelcheck.errors import ContainedFailure, InvalidInput, Unsupported
from modelcheck.model import TensorSpec
from modelcheck.process import Child, ChildLimits, Command, Refused
from modelcheck.units import size

_WORKER = Path(__file__).parent / "decoder.py"
_MAX_FILE_BYTES = 512 << 20
# 100 megapixels need 300 MB decoded and as much again turned or resized; cv2 itself maps 1.5 GB.
_LIMITS = ChildLimits(request_s=120, memory_bytes=4 << 30)
# Each thread of numpy's BLAS, which is not used here, would reserve address space.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Images under way in the child while the caller computes: evens out small and large ones.
_GROUP = 4


def decoder_command() -> Command:
    """What starts a decoder, for who wants to start one ahead."""
    memory_bytes = _LIMITS.address_space()
    return Command.of(_WORKER, memory_bytes=memory_bytes, environment=_ONE_THREAD)


class _Decoders:
    """Keeps one decoding child at rest for the next iteration: starting one costs 0.3 s."""

    def __init__(self) -> None:
        self._idle: list[Child] = []
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Child:
        if self._idle:
            return self._idle.pop()
        return Child(_WORKER, name="image decoder", limits=_LIMITS, environment=_ONE_THREAD)

    def give(self, child: Child) -> None:
        self._idle.append(child)
        _close_all(self._idle[1:])
        del self._idle[1:]


def _close_all(children: list[Child]) -> None:
    for child in children:
        child.close()


class ImageSamples(Samples):
    """Images for a model with one input. `preprocessing` has its size and dtype filled in."""

    digest_of = "files"

    def __init__(self, listing: Listing, spec: TensorSpec, preprocessing: Preprocessing) -> None:
        super().__init__(
            [spec.name], len(listing.names), labels=listing.labels, notes=listing.notes
        )
        self.preprocessing = preprocessing
        self._listing = listing
        self._spec = spec
        self._via = np.dtype(preprocessing.dtype)
        self._decoders = _Decoders()

    def _read(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        """Blobs in order. While the caller works on one group, the child decodes the next."""
        groups = [indices[i : i + _GROUP] for i in range(0, len(indices), _GROUP)]
        child = self._decoders.take()
        with contextlib.ExitStack() as buried:
            buried.callback(child.close)
            unread = self._send(child, groups[0]) if groups else {}
            for group, ahead in zip(groups, [*groups[1:], ()], strict=True):
                blobs, bad = self._receive(child, group)
                bad |= unread
                if ahead and not bad:
                    unread = self._send(child, ahead)
                for index in group:
                    if index in bad:
                        raise bad[index]
                    yield {self._spec.name: blobs[index]}
            buried.pop_all()
        self._decoders.give(child)

    def _send(self, child: Child, group: Sequence[int]) -> dict[int, InvalidInput]:
        """Hand a group of files to the child; returns what is wrong with those not sent."""
        files, unread = {}, {}
        for index in group:
            try:
                files[str(index)] = np.frombuffer(self._bytes(index), np.uint8)
            except InvalidInput as error:
                unread[index] = error
        with self._located(group):
            child.send("decode", files, settings=self.preprocessing.decoder_settings())
        return unread

    def _receive(
        self, child: Child, group: Sequence[int]
    ) -> tuple[dict[int, np.ndarray], dict[int, InvalidInput]]:
        with self._located(group):
            # The caller may have computed for longer than the child was given.
            answer = child.receive(timeout_s=_LIMITS.request_s)
        texts = answer.fields["problems"]
        blobs = {}
        for key, blob in answer.arrays.items():
            assert blob.shape == self.preprocessing.blob_shape, f"cv2 made {blob.shape}"
            with np.errstate(over="ignore"):
                blobs[int(key)] = blob.astype(self._via, copy=False).astype(
                    self._spec.dtype, copy=False
                )
            if self._via.kind == "f" and not np.isfinite(blobs[int(key)]).all():
                texts[key] = f"mean and std take it out of the range of {self._via}"
        return blobs, {int(key): self._bad_image(int(key), text) for key, text in texts.items()}

    @contextlib.contextmanager
    def _located(self, group: Sequence[int]) -> Iterator[None]:
        """Say which images were being decoded when the child failed."""
        first, last = self._name(group[0]), self._name(group[-1])
        where = f"{self._listing.folder}, {first if first == last else f'{first} to {last}'}"
        try:
            yield
        except Refused as error:
            if "import" in error.kind.lower() or "module" in error.kind.lower():
                raise Unsupported(
                    f"cannot be imported, so images cannot be decoded: {error.what}",
                    where="cv2",
                    remedy="Run `pip install opencv-python-headless` in this environment (with no "
                    "other OpenCV in it), or install libGL: `apt install libgl1`.",
                ) from error
            raise error.at(where) from error
        except ContainedFailure as error:
            raise error.at(where) from error

    def _bytes(self, index: int) -> bytes:
        """The file's bytes: the same at every reading, or InvalidInput."""
        path = self._listing.folder / self._listing.names[index]
        try:
            n_bytes = path.stat().st_size
            if n_bytes > _MAX_FILE_BYTES:
                raise InvalidInput(
                    f"has {size(n_bytes)}; an image may have {size(_MAX_FILE_BYTES)}",
                    where=str(path),
                )
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInput(
                f"cannot be read: {error.strerror}", where=str(path),
                remedy="Restore the file, or remove it from the data.",
            ) from error  # fmt: skip
        if not content:
            raise InvalidInput(
                "is an empty file", where=str(path), remedy="Restore or remove the file."
            )
        digest = hashlib.sha256(content).hexdigest()
        if self._known_digests.setdefault(index, digest) != digest:
            raise InvalidInput(
                "changed during the run", where=str(path), remedy="Run again when it is at rest."
            )
        return content

    def _digest_all(self, indices: Sequence[int]) -> Iterator[str]:
        for index in indices:
            yield hashlib.sha256(self._bytes(index)).hexdigest()

    def _bad_image(self, index: int, problem: str) -> InvalidInput:
        if "CV_IO_MAX_IMAGE" in problem:
            what = "is larger than 100 megapixels"
        elif problem == "undecodable":
            what = "is damaged, truncated or no image: cv2 cannot decode it"
        else:
            what = f"cannot be preprocessed: {' '.join(problem.split())}"
        path = self._listing.folder / self._listing.names[index]
        return InvalidInput(what, where=str(path), remedy="Restore the file, or remove it.")

    def _name(self, index: int) -> str:
        return self._listing.names[index]

    def _place(self) -> tuple[str, str]:
        return f"{self._listing.folder.name or self._listing.folder}/", "image"

    def _settings(self) -> str:
        return json.dumps([self.preprocessing.canonical(), self._spec.dtype.str], sort_keys=True)
