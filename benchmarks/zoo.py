"""The trained models of ../shared/models with their data, for benchmarks and real-model tests.

They are not ours and are never copied into the repository; `available()` says if they are there.
"""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcheck.data import Preprocessing, Samples, open_samples
from modelcheck.data.folders import EXTENSIONS
from modelcheck.model import Model, Signature, TensorSpec, load
from modelcheck.process import Workspace
from modelcheck.recipe import DataSettings
from modelcheck.reference import open_reference

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODELS, DATA = SHARED / "models", SHARED / "data"
_IMAGENET = {"resize": "shorter", "shorter_side": 256}
_XFEAT = {"size": [320, 224], "rgb": True, "mean": 0, "std": 255}


@dataclass(frozen=True)
class ZooModel:
    """One model of models.toml."""

    name: str
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        return MODELS / f"{self.name}.onnx"

    @property
    def labelled(self) -> bool:
        return self.facts["task"] == "classification"

    def expected(self, engine: str) -> str:
        """'ok', 'load-fails', 'forward-fails' or 'segfaults', as models.toml states it."""
        auto = str(self.facts["cv2_5_auto"])
        return auto if engine == "new" else str(self.facts.get("cv2_5_classic", "ok"))

    def load(self) -> Model:
        return load(self.path)

    def samples(self, signature: Signature, folder: Path, count: int) -> Samples:
        """What `data` says, opened for this signature, which is the model's."""
        settings = self.data(folder, count)
        return open_samples(
            settings.path, signature, preprocessing=settings.preprocessing,
            shapes=settings.shapes, count=settings.count,
        )  # fmt: skip

    def data(self, folder: Path, count: int) -> DataSettings:
        """Settings for `count` samples, or all there are; arrays that are made go into `folder`.

        Models of sound and spectrograms have no data here: synthetic inputs.
        """
        if self.name in _MADE:
            path = folder / f"{self.name}.npz"
            if not path.exists():
                np.savez(path, **_MADE[self.name](count))
            return DataSettings(path=path, count=count)
        if "data" not in self.facts:
            return DataSettings(count=min(count, 16))
        facts = _XFEAT if self.name == "xfeat_320x224" else self.facts["input"]
        path = DATA / self.facts["data"]
        images = sum(file.suffix.lower().removeprefix(".") in EXTENSIONS for file in path.iterdir())
        return DataSettings(
            path=path, count=min(count, images), preprocessing=_preprocessing(facts)
        )


def available() -> bool:
    return (MODELS / "models.toml").is_file()


def zoo() -> list[ZooModel]:
    """All models, in the order of models.toml; none where the folder is absent."""
    if not available():
        return []
    table = tomllib.loads((MODELS / "models.toml").read_text(encoding="utf-8"))
    return [ZooModel(facts["name"], facts) for facts in table["model"]]


def _preprocessing(facts: dict[str, Any]) -> Preprocessing:
    settings: dict[str, Any] = {
        "size": tuple(facts["size"]),
        "rgb": facts.get("rgb", False),
        "gray": facts.get("gray", False),
        "mean": _channels(facts["mean"]),
        "std": _channels(facts["std"]),
        "layout": facts.get("layout", "NCHW"),
    }
    if "crop" in facts:
        settings |= _IMAGENET
    if "letterbox" in facts:
        settings |= {"resize": "letterbox", "pad_value": facts["letterbox"]}
    return Preprocessing(**settings)


def _channels(value: float | list[float]) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _mnist(count: int) -> dict[str, np.ndarray]:
    def read(name: str, header: int) -> np.ndarray:
        packed = (DATA / "mnist_test" / f"t10k-{name}-ubyte.gz").read_bytes()
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header)

    images = read("images-idx3", 16).reshape(-1, 1, 28, 28)[:count]
    return {
        "Input3": images.astype(np.float32),
        "labels": read("labels-idx1", 8)[:count].astype(int),
    }


def _images(count: int, facts: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    spec = TensorSpec("image", np.dtype(np.float32), shape)
    samples = open_samples(
        DATA / "coco_val100",
        Signature((spec,), ()),
        preprocessing=_preprocessing(facts),
        count=count,
    )
    return np.concatenate([sample.arrays["image"] for sample in samples])


def _vittrack(count: int) -> dict[str, np.ndarray]:
    """Pairs of a template and a search region: two sizes of the same pictures."""
    facts = next(m.facts["input"] for m in zoo() if m.name == "vittrack")
    return {
        name: _images(count, facts | {"size": [side, side]}, (1, 3, side, side))
        for name, side in (("template", 128), ("search", 256))
    }


def _nanotrack_head(count: int) -> dict[str, np.ndarray]:
    """Features of the backbone: of a picture, and of the middle of another one as template."""
    backbone = next(m for m in zoo() if m.name == "nanotrack_v2_backbone")
    images = _images(count, backbone.facts["input"], (1, 3, 255, 255))
    with Workspace() as workspace, open_reference(backbone.load(), workspace) as reference:
        features = np.concatenate([reference.run({"input": x[None]})["output"] for x in images])
    return {"input1": np.roll(features, 1, axis=0)[:, :, 4:12, 4:12], "input2": features}


_MADE: dict[str, Callable[[int], dict[str, np.ndarray]]] = {
    "mnist_cntk_8": _mnist,
    "vittrack": _vittrack,
    "nanotrack_v2_head": _nanotrack_head,
}
