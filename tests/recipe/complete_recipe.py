"""A recipe with every key that a file may have, and the tables of the schema."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelcheck.recipe.schema import RecipeFile, Table

FILE = Path("/where/edge.toml")

# Every key that a file may have, with a value, written with '_'. Tables as a user nests them.
COMPLETE: dict[str, typing.Any] = {
    "seed": 42,
    "data": {
        "path": "images",
        "calibration": "calibration.npz",
        "count": 10,
        "shapes": {"image": [1, 3, 8, 8], "scale_factor": []},
        "allow_synthetic": True,
        "preprocessing": {
            "size": [224, 160],
            "resize": "letterbox",
            "pad_value": [114, 114, 114],
            "rgb": True,
            "gray": False,
            "mean": [1.5, 2, 3],
            "std": 255,
            "layout": "NHWC",
            "dtype": "float32",
        },
    },
    "steps": [{"transform": "quantize-weights", "per_channel": False}, {"transform": "identity"}],
    "targets": [
        {
            "device": "cpu",
            "engine": "classic",
            "threads": 2,
            "python": "cv4/bin/python",
            "optional": True,
            "min_speedup": 1.5,
            "max_worst_error": 0.3,
            "metrics": [{"kind": "top5", "min": 0.9}],
        },
        {
            "min_agreement": "99%",
            "min_sqnr": 30,
            "max_error": 0.1,
            "max_slowdown": "3%",
            "max_fallback": "5%",
            "max_p50": "10ms",
            "max_p90": "12 ms",
            "max_p99": "15ms",
            "min_throughput": "60/s",
            "max_first_inference": "0.3 s",
            "max_peak_memory": "200MiB",
            "max_file_size": "10MB",
            "search_inputs": 50,
        },
        {"any_of": ["min-agreement=0.9", "min-sqnr=20,max-error=0.5"]},
    ],
    "limits": {
        "limit": "min-sqnr=25",
        "min_speedup": 1.1,
        "max_slowdown": 0.2,
        "max_fallback": 0.1,
        "max_p50": "20ms",
        "max_p90": "30ms",
        "max_p99": "40ms",
        "min_throughput": "30/s",
        "max_first_inference": "1s",
        "max_peak_memory": "1GiB",
        "max_file_size": "20MB",
        "claim": "lossy",
        "checks": ["equivalence", "speed"],
        "baseline": "best",
        "time_budget": "2min",
        "since_last": True,
        "search_inputs": 200,
        "max_worst_error": 0.4,
        "search_radius": 0.05,
    },
    "metrics": [
        {"kind": "top5", "min": "99%"},
        {"kind": "boxes", "boxes": "b", "scores": "s", "min_score": 0.4, "min": 0.95},
    ],
    "models": [{"original": "net.onnx", "candidate": "/abs/small.onnx"}, {"original": "../a.onnx"}],
}


def hyphenated(value: typing.Any) -> typing.Any:
    """The same table with '-' in its keys, where the key is ours."""
    if isinstance(value, Mapping):
        return {
            key.replace("_", "-"): inner if key == "shapes" else hyphenated(inner)
            for key, inner in value.items()
        }
    return [hyphenated(v) for v in value] if isinstance(value, list) else value


def tables(owner: type[Table] = RecipeFile, path: str = "") -> Iterator[tuple[str, type[Table]]]:
    """Every table of the schema, as its place reads in a file: '', '[data]', '[[targets]] 1'."""
    yield path, owner
    for name, field in owner.model_fields.items():
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Table):
                many = typing.get_origin(field.annotation) is tuple
                inner = f"{path[1:-1]}.{name}".lstrip(".")
                yield from tables(part, f"[[{inner}]] 1" if many else f"[{inner}]")


def document(path: str, body: str) -> str:
    return f"{path.removesuffix(' 1')}\n{body}\n"
