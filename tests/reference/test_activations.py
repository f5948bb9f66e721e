"""Streamed statistics are those of all activations taken at once."""

from __future__ import annotations

import importlib.util
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import modelcheck.reference.activations as activations_module
from modelcheck.data.samples import Sample
from modelcheck.errors import InvalidInput
from modelcheck.model import Model, load
from modelcheck.process import Workspace
from modelcheck.reference import Reference, ReferenceActivations

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture(scope="module")
def model() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    images = np.load(FIXTURES / "digits_calibration.npz")["image"][:12].astype(np.float32)
    return [Sample(i, {"image": x[None]}, None, str(i)) for i, x in enumerate(images)]


@pytest.fixture(scope="module")
def activations(samples):
    with Workspace() as workspace, Reference() as reference:
        yield ReferenceActivations(reference, samples, workspace)


@pytest.fixture(scope="module")
def names(model) -> list[str]:
    inside = [node.outputs[0].name for node in model.graph if node.op_type in ("Conv", "Relu")]
    return [model.signature.inputs[0].name, *inside]


@pytest.fixture(scope="module")
def values(model, names, activations) -> dict[str, np.ndarray]:
    streamed = list(activations(model, names))
    return {name: np.concatenate([sample[name] for sample in streamed]) for name in names}


def test_tensors_are_those_of_the_network(values, samples, model):
    image = model.signature.inputs[0].name
    given = np.concatenate([sample.arrays[image] for sample in samples])
    np.testing.assert_array_equal(values[image], given)
    relu = next(node for node in model.graph if node.op_type == "Relu")
    assert len(samples) == len(values[relu.outputs[0].name])
    assert values[relu.outputs[0].name].min() == 0


def test_streamed_extremes_equal_those_of_all_samples_at_once(activations, model, names, values):
    ranges = activations.ranges(model, names)
    assert list(ranges) == names
    for name in names:
        assert ranges[name].shape == (1, *values[name].shape[1:])
        # Two sessions of the same network fuse it differently, so they round differently.
        np.testing.assert_allclose(ranges[name].minimum, values[name].min(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ranges[name].maximum, values[name].max(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inside", [0.9999, 0.99, 0.5])
def test_streamed_quantiles_equal_those_of_all_samples_at_once(
    activations, model, names, values, inside
):
    ranges = activations.ranges(model, names, inside=inside)
    for name in names:
        ordered = np.sort(values[name].reshape(-1))
        rank = int(ordered.size * (1 - inside) / 2)
        np.testing.assert_allclose(ranges[name].minimum, ordered[rank], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ranges[name].maximum, ordered[-1 - rank], rtol=1e-4, atol=1e-5)


def test_quantiles_in_bounded_memory_are_near_those_of_all_elements(
    activations, model, names, values, monkeypatch
):
    monkeypatch.setattr(activations_module, "_KEPT", 200)
    monkeypatch.setattr(activations_module, "_FETCHED_BYTES", 10_000)  # several chunks
    ranges = activations.ranges(model, names, inside=0.9)
    for name in names:
        low, high = np.quantile(values[name], [0.02, 0.98])
        narrow_low, narrow_high = np.quantile(values[name], [0.12, 0.88])
        assert low <= ranges[name].minimum <= max(narrow_low, low)
        assert narrow_high <= ranges[name].maximum <= high


def test_the_range_of_a_tensor_that_is_not_finite_says_so(model, samples, names):
    broken = dict(samples[0].arrays)
    broken["image"] = broken["image"].copy()
    broken["image"].flat[3] = np.inf
    broken = Sample(0, broken, None, "broken")
    with Workspace() as workspace, Reference() as reference:
        activations = ReferenceActivations(reference, [broken, *samples[1:]], workspace)
        assert not activations.ranges(model, names)["image"].finite


def test_progress_reaches_its_end_and_never_falls(activations, model, names):
    for inside in (1.0, 0.99):
        seen: list[float] = []
        activations.ranges(model, names, inside=inside, progress=seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == 1.0


def test_an_unknown_tensor_is_named(activations, model):
    with pytest.raises(InvalidInput, match="no tensor 'nowhere'"):
        activations.ranges(model, ["nowhere"])


def test_of_a_large_tensor_nothing_stays_but_its_tails() -> None:
    """A view of the ends would keep all of the first sample: a third of percentile's memory."""
    spec = importlib.util.spec_from_file_location(
        "worker", Path(activations_module.__file__).with_name("worker.py")
    )
    assert spec is not None
    assert spec.loader is not None
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    tails = worker.Tails(["y"], [5], [1])
    outputs = {"y": np.random.default_rng(0).random(1_000_000, dtype=np.float32)}
    tracemalloc.start()
    tails.add(outputs)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000
    assert tails.result()["high:y"].size == 5
