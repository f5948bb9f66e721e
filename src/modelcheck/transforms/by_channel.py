"""Numbers for each channel of a model's tensors, on the calibration samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from modelcheck.model import Model
from modelcheck.transforms.base import Activations


def largest_by_channel(
    activations: Activations, model: Model, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """max |x| of each channel of these tensors, over all samples: (C,) of each."""
    found = {name: np.asarray(0, np.float32) for name in names}
    for seen in _seen(activations, model, names, "Abs", "GlobalMaxPool"):
        found = {
            name: np.maximum(found[name], x.max(axis=0).reshape(-1)) for name, x in seen.items()
        }
    return found


def mean_by_channel(
    activations: Activations, model: Model, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The mean of each channel of these tensors, over all samples: (C,) of each, float64."""
    sums = {name: np.asarray(0.0) for name in names}
    samples = 0
    for seen in _seen(activations, model, names, "GlobalAveragePool"):
        means = {name: x.astype(np.float64).mean(axis=0).reshape(-1) for name, x in seen.items()}
        sums = {name: sums[name] + means[name] for name in sums}
        samples += 1
    return {name: total / max(samples, 1) for name, total in sums.items()}


def _seen(
    activations: Activations, model: Model, names: Sequence[str], *operators: str
) -> Iterator[Mapping[str, np.ndarray]]:
    """What these operators, one behind the other, make of each tensor: (N, C, 1, ...) a sample.

    Taken inside of the network, so that no tensor leaves it.
    """
    names = list(dict.fromkeys(names))
    if not names:
        return
    edited = model.edit()
    values = {v.name: v for v in edited.graph.inputs}
    values |= {v.name: v for node in edited.graph for v in node.outputs}
    made = {}
    for i, name in enumerate(names):
        value = values[name]
        for operator in operators:
            node = ir.node(operator, [value], name=f"{operator}/by_channel{i}")
            value = node.outputs[0]
            value.name = f"{operator}/by_channel:{i}"
            edited.graph.append(node)
        made[str(value.name)] = name
    probed = Model.freeze(edited, name=model.name)
    for seen in activations(probed, list(made)):
        yield {made[output]: array for output, array in seen.items()}
