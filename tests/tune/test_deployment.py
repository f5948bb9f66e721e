"""What a deployment takes away runs by itself, and gives what the model gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelcheck.data import Preprocessing, open_samples
from modelcheck.judge import Outcome
from modelcheck.judge.serving import Figure, Gain
from modelcheck.model import Model, load
from modelcheck.recipe import TargetSettings
from modelcheck.reference import Reference
from modelcheck.targets import Engine, NetOptions, OpenCV, Target, TargetSession
from modelcheck.tune import Proven, Setting, TunePlan, Tuning, runtime_toml, snippet

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
FIGURE = Figure(0.001, 0.0009, float("inf"))
GAIN = Gain(1.2, 1.1, 1.3, "pass")
COUNT = 11  # no multiple of any batch

# Blocks every import but those a deployment has, then runs the script's pool on samples.
_USE = """
import sys
allowed = set(sys.stdlib_module_names) | {"cv2", "numpy", "runtime"}
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ImportError("a deployment has no " + name)
sys.meta_path.insert(0, Only())
sys.path.insert(0, ".")
import numpy as np, runtime
images = np.load("samples.npy")
pool = runtime.Pool("model.onnx")
name = next(iter(runtime.INPUTS))
if sys.argv[1] == "images":
    found = pool.run_images(list(images))
else:
    found = pool.run({name: images[i : i + 1]} for i in range(len(images)))
np.save("found.npy", np.concatenate([one[runtime.OUTPUTS[0]] for one in found]))
pool.close()
"""


def tuning(setting: Setting, name: str = "digits_resnet") -> Tuning:
    model = load(FIXTURES / f"{name}.onnx")
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=COUNT)
    default = Proven(Setting(Target()), FIGURE, FIGURE, GAIN, GAIN)
    best = Proven(setting, FIGURE, FIGURE, GAIN, GAIN)
    return Tuning(
        TunePlan(model, samples, (TargetSettings(Target()),)), default, (best,),
        {"latency": default, "throughput": best}, (), Outcome.PASS, "", 24, 4,
        {setting.place: OpenCV("5.0.0", ("auto",), "2.0", "3.11", 2, 2, "")},
    )  # fmt: skip


@pytest.fixture(scope="module")
def engines() -> tuple[str, ...]:
    with TargetSession(Target(), name="the test") as session:
        return session.opencv().engines


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    model = load(FIXTURES / "digits_resnet.onnx")
    return reference_outputs(model, FIXTURES / "digits_resnet.onnx", samples_of(model))


def samples_of(model: Model) -> np.ndarray:
    samples = open_samples(FIXTURES / "digits_test.npz", model.signature, count=COUNT)
    return np.concatenate([s.arrays["image"] for s in samples])


def reference_outputs(model: Model, path: Path, images: np.ndarray) -> np.ndarray:
    with Reference() as reference:
        reference.load(path)
        return reference.run({"image": images})["logits"]


def run_script(folder: Path, script: str, images: np.ndarray, how: str) -> np.ndarray:
    (folder / "runtime.py").write_text(script, encoding="utf-8")
    shutil.copy(FIXTURES / "digits_resnet.onnx", folder / "model.onnx")
    np.save(folder / "samples.npy", images)
    subprocess.run([sys.executable, "-I", "-c", _USE, how], cwd=folder, check=True, timeout=60)
    return np.load(folder / "found.npy")


@pytest.mark.parametrize(
    ("engine", "threads", "nets", "batch", "options"),
    [
        ("auto", None, 1, 1, NetOptions()),
        ("new", 1, 2, 1, NetOptions()),
        ("classic", 1, 3, 4, NetOptions(winograd=False)),
        ("classic", 2, 1, 2, NetOptions(fusion=False)),
    ],
)
def test_the_script_gives_the_models_outputs_in_the_order_of_the_samples(
    tmp_path: Path,
    engines: tuple[str, ...],
    expected: np.ndarray,
    engine: str,
    threads: int | None,
    nets: int,
    batch: int,
    options: NetOptions,
) -> None:
    if engine not in engines:
        pytest.skip(f"this OpenCV has no engine '{engine}'")
    setting = Setting(Target(engine=Engine(engine), threads=threads), nets, batch, options)
    found = tuning(setting)
    images = samples_of(found.plan.model)
    outputs = run_script(tmp_path, snippet(found, "model.onnx", None), images, "samples")
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 4])
def test_the_script_prepares_images_as_they_were_for_the_tuning(tmp_path: Path, batch: int) -> None:
    how = Preprocessing(size=(8, 8), gray=True, mean=20.0, std=50.0)
    found = tuning(Setting(Target(), nets=2, batch=batch))
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), dtype=np.uint8)
    blob = ((pixels.astype(np.float32) - 20) / 50)[:, None]
    model = found.plan.model
    expected = reference_outputs(model, FIXTURES / "digits_resnet.onnx", blob)
    outputs = run_script(tmp_path, snippet(found, "model.onnx", how), pixels, "images")
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())


def test_the_script_measures_itself_where_it_is_given_nothing(tmp_path: Path) -> None:
    found = tuning(Setting(Target(), nets=2))
    (tmp_path / "runtime.py").write_text(snippet(found, "model.onnx", None), encoding="utf-8")
    shutil.copy(FIXTURES / "digits_resnet.onnx", tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-I", "runtime.py"], cwd=tmp_path, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert "samples a second" in done.stdout


def test_the_script_says_where_its_resizing_is_another(tmp_path: Path) -> None:
    how = Preprocessing(size=(8, 8), gray=True, resize="crop")
    script = snippet(tuning(Setting(Target())), "model.onnx", how)
    assert "resized with 'crop'" in script
    compile(script, "runtime.py", "exec")


def test_a_name_cannot_break_out_of_the_script_or_the_toml() -> None:
    name = "a'\"\n]\\\x1b.onnx"
    found = tuning(Setting(Target()))
    scope: dict[str, object] = {}
    line = next(x for x in snippet(found, name, None).splitlines() if x.startswith("MODEL = "))
    exec(line, scope)
    assert scope["MODEL"] == name
    assert tomllib.loads(runtime_toml(found, name))["model"]["file"] == name


def test_the_toml_says_all_that_a_deployment_sets() -> None:
    setting = Setting(Target(engine=Engine.CLASSIC, threads=1), 3, 4, NetOptions(winograd=False))
    found = tuning(setting)
    read = tomllib.loads(runtime_toml(found, "m.onnx"))
    assert read["schema"] == "modelcheck.runtime/1"
    assert read["model"]["digest"] == found.plan.model.digest
    assert read["machine"]["opencv"] == "5.0.0"
    best = read["throughput"]
    assert (best["device"], best["engine"], best["threads"]) == ("cpu", "classic", 1)
    assert (best["nets"], best["batch"]) == (3, 4)
    assert (best["winograd"], best["fusion"]) == (False, True)
    assert best["throughput-gain"] == [1.2, 1.1, 1.3]
    assert read["latency"]["is-default"]
    assert read["default"]["threads"] == 0


def test_another_interpreter_is_named() -> None:
    target = Target(python="/opt/cv4/bin/python")
    found = tuning(Setting(target))
    found = replace(found, default=replace(found.default, setting=Setting(target)))
    assert tomllib.loads(runtime_toml(found, "m"))["throughput"]["python"] == target.python


def test_the_docs_show_every_key_of_the_toml() -> None:
    shown = tomllib.loads(
        (ROOT / "docs" / "tune.md").read_text().split("```toml\n")[1].split("```")[0]
    )
    made = tomllib.loads(runtime_toml(tuning(Setting(Target())), "net.onnx"))
    assert shown.keys() == made.keys() - {"default", "latency"}
    for table in ("model", "machine", "throughput"):
        assert shown[table].keys() == made[table].keys()
