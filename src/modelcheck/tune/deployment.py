"""What a deployment takes away: runtime.toml with the settings, and a script that runs them.

schema = "modelcheck.runtime/1"
goal                            which of the two is deployed by the script
[model]                         file, digest, inputs, outputs
[machine]                       OpenCV, cores
[default] [latency] [throughput]  a setting each: device, engine, threads (0: OpenCV's own),
                                nets, batch, winograd, fusion, is-default, and what was
                                measured: [value, low, high] with a 98 % interval
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelcheck.data import Preprocessing
from modelcheck.judge.serving import Figure, Gain
from modelcheck.model import Model
from modelcheck.recipe.writing import toml_value
from modelcheck.targets import OpenCV
from modelcheck.targets.worker import DEVICES
from modelcheck.tune.plan import Proven, Tuning
from modelcheck.tune.settings import Setting

SCHEMA = "modelcheck.runtime/1"
_TEMPLATE = Path(__file__).with_name("template.py")
_SETTINGS = re.compile(r"# <settings>\n.*# </settings>\n", re.DOTALL)


def runtime_toml(tuning: Tuning, file: str) -> str:
    """The settings as TOML."""
    opencv = tuning.opencv[tuning.best[tuning.plan.goal].setting.place]
    return _toml(
        "# Made by `modelcheck tune`. A figure is [value, low, high], with a 98 % interval.",
        {"goal": tuning.plan.goal},
        {
            **_of_model(tuning.plan.model, file, opencv),
            "default": _table(tuning, tuning.default),
            **{measure: _table(tuning, proven) for measure, proven in tuning.best.items()},
        },
    )


def runtime_of(setting: Setting, model: Model, opencv: OpenCV, file: str) -> str:
    """One setting as TOML, for a model that is fast with just that one."""
    chosen = _setting(setting)
    python = chosen.pop("python")
    table = ({} if python is None else {"python": python}) | chosen
    return _toml(
        "# Made by `modelcheck search`: what the model was proven with.", {},
        {**_of_model(model, file, opencv), "setting": table},
    )  # fmt: skip


def _of_model(model: Model, file: str, opencv: OpenCV) -> dict[str, Mapping[str, Any]]:
    return {
        "model": {
            "file": file,
            "digest": model.digest,
            "inputs": [spec.name for spec in model.signature.inputs],
            "outputs": [spec.name for spec in model.signature.outputs],
        },
        "machine": {"opencv": opencv.version, "threads": opencv.threads, "cpus": opencv.cpus},
    }


def _toml(comment: str, facts: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [comment, f"schema = {toml_value(SCHEMA)}"]
    lines += [f"{key} = {toml_value(_short(v))}" for key, v in facts.items()]
    for name, table in tables.items():
        said = [f"{key} = {toml_value(_short(v))}" for key, v in table.items()]
        lines += ["", f"[{name}]", *said]
    return "\n".join(lines) + "\n"


def snippet(tuning: Tuning, file: str, preprocessing: Preprocessing | None) -> str:
    """A script that runs the model with the setting that serves the goal."""
    setting = tuning.best[tuning.plan.goal].setting
    sample = next(iter(tuning.plan.samples))
    version = tuning.opencv[setting.place].version
    return script(setting, tuning.plan.model, sample.arrays, version, file, preprocessing)


def script(
    setting: Setting,
    model: Model,
    sample: Mapping[str, np.ndarray],
    opencv: str,
    file: str,
    preprocessing: Preprocessing | None,
) -> str:
    """A script that runs a model file with a setting, made for inputs like this sample."""
    inputs = {name: (a.shape, _cv2_type(str(a.dtype))) for name, a in sample.items()}
    values = {
        "MODEL": file,
        "OPENCV": opencv,
        "INPUTS": inputs,
        "OUTPUTS": [spec.name for spec in model.signature.outputs],
        "ENGINE": str(setting.target.engine),
        "NETS": setting.nets,
        "BATCH": setting.batch,
        "THREADS": setting.target.threads,
    }
    backend, target = DEVICES.get(setting.target.device, (None, None))
    size, mean, std, rgb = _images(inputs, preprocessing)
    lines = [
        *(f"{name} = {value!r}" for name, value in values.items()),
        f"BACKEND, TARGET = {backend!r}, {target!r}",
        f"WINOGRAD, FUSION = {setting.options.winograd!r}, {setting.options.fusion!r}",
        f"SIZE, MEAN, STD, RGB = {size!r}, {mean!r}, {std!r}, {rgb!r}",
    ]
    lines.append(f"GRAY = {preprocessing is not None and preprocessing.gray!r}")
    lines.append(f"NO_IMAGES = {_why_no_images(inputs, preprocessing)!r}")
    text = "\n".join(lines) + "\n"
    return _SETTINGS.sub(lambda match: text, _TEMPLATE.read_text(encoding="utf-8"))


def _why_no_images(inputs: Mapping[str, Any], how: Preprocessing | None) -> str:
    """Why blobFromImages cannot prepare images as they were for the tuning; '' where it can."""
    if how is None:
        return "the model was tuned on arrays, so nothing says how images become inputs"
    if len(inputs) != 1:
        return "the model has more than one input"
    if how.resize != "stretch":
        return f"the images were resized with '{how.resize}', and it only stretches"
    return "" if how.layout == "NCHW" else f"the layout was {how.layout}, and it makes NCHW"


def as_dict(tuning: Tuning, proven: Proven) -> dict[str, Any]:
    """A setting and its figures as plain values; None for what is not known yet."""
    setting = proven.setting
    return {
        **_setting(setting),
        "opencv": opencv.version if (opencv := tuning.opencv.get(setting.place)) else "",
        "is-default": tuning.is_default(proven),
        "latency-s": _figure(proven.latency),
        "samples-per-s": _figure(proven.throughput),
        "latency-gain": _gain(proven.latency_gain),
        "throughput-gain": _gain(proven.throughput_gain),
    }


def _table(tuning: Tuning, proven: Proven) -> dict[str, Any]:
    found = as_dict(tuning, proven)
    python = found.pop("python")
    return ({} if python is None else {"python": python}) | found


def _setting(setting: Setting) -> dict[str, Any]:
    target = setting.target
    return {
        "device": str(target.device),
        "engine": str(target.engine),
        "python": target.python,
        "threads": target.threads or 0,
        "nets": setting.nets,
        "batch": setting.batch,
        # Both are on where nobody switches them off.
        "winograd": setting.options.winograd is not False,
        "fusion": setting.options.fusion is not False,
    }


def _figure(figure: Figure) -> list[float | None]:
    return [x if math.isfinite(x) else None for x in (figure.value, figure.low, figure.high)]


def _gain(gain: Gain) -> list[float | None]:
    return [x if math.isfinite(x) else None for x in (gain.ratio, gain.low, gain.high)]


def _short(value: Any) -> Any:
    """Numbers to six digits; None is no number."""
    if isinstance(value, list):
        return [_short(one) for one in value]
    if value is None:
        return math.nan
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _cv2_type(dtype: str) -> str:
    """cv2 takes no float16 tensors."""
    return "float32" if dtype == "float16" else dtype


def _images(
    inputs: Mapping[str, tuple[tuple[int, ...], str]], preprocessing: Preprocessing | None
) -> tuple[Any, ...]:
    shape = next(iter(inputs.values()))[0]
    how = preprocessing or Preprocessing()
    size = how.size or (shape[-1], shape[-2] if len(shape) > 2 else 1)
    return size, _channels(how.mean), _channels(how.std), how.rgb


def _channels(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple) else (float(value),) * 3
