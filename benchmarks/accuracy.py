"""Top-1 accuracy of originals and candidates, as cv2 runs them, on all labelled images.

    python benchmarks/accuracy.py

squeezenet_fp16 on 200 images, winml_cifar_cnn on 300, mnist_cntk_8 on 1,000. Where a step
calibrates, a part of the images calibrates and only the rest is counted.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from modelcheck import gate
from modelcheck.judge import AgreementEvidence
from modelcheck.recipe import CheckKind, Judging, Recipe, TargetSettings, parse_step
from modelcheck.targets import Target
from zoo import ZooModel, available, zoo

_COUNTS = {"squeezenet_fp16": 200, "winml_cifar_cnn": 300, "mnist_cntk_8": 1000}
_STEPS = (
    "identity",
    "prune-weights:amount=0.5",
    "fp16:scope=weights",
    "fp16:scope=model",
    "quantize:form=qdq",
    "quantize:form=qoperator",
    "equalize + quantize:calibration=mse,correct_bias=true",
    "equalize + quantize:calibration=mse,weight_range=mse,rounding=learned,correct_bias=true",
)
_ENGINES = ("new", "classic")


def main() -> None:
    if not available():
        print("skipped: ../shared/models is absent")
        return
    columns = ("model", "step", "engine", "images", "onnxruntime float", "cv2 original",
               "cv2 candidate", "agreement", "verdict")  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for model in zoo():
            if model.name in _COUNTS:
                _print_rows(model, Path(folder))


def _print_rows(model: ZooModel, folder: Path) -> None:
    recipe = Recipe(
        data=model.data(folder, _COUNTS[model.name]),
        targets=tuple(TargetSettings(Target.parse(f"cpu:{e}")) for e in _ENGINES),
        judging=Judging(checks=frozenset({CheckKind.EQUIVALENCE})),
    )
    original = model.load()
    for text in _STEPS:
        asked = replace(recipe, steps=tuple(map(parse_step, text.split(" + "))))
        inputs = gate.open_inputs(original, asked)
        made = gate.make_candidate(original, inputs, asked)
        result = gate.judge(inputs, made.model, made.claim, asked)
        for engine, target in zip(_ENGINES, result.targets, strict=True):
            evidence = target.equivalence
            cells = ["–"] * 5
            if evidence is not None and evidence.total_agreement:
                total = next(iter(evidence.total_agreement.values()))
                there = next(iter(evidence.target_agreement.values()))
                cells = _cells(total, there)
            print(
                f"| {model.name} | `{text}` | {engine} | {' | '.join(cells)} | {target.outcome} |",
                flush=True,
            )


def _cells(total: AgreementEvidence, there: AgreementEvidence) -> list[str]:
    def share(correct: int | None, samples: int) -> str:
        return "–" if correct is None else f"{100 * correct / samples:.1f} %"

    return [
        str(total.samples),
        share(total.label_correct_expected, total.samples),
        share(there.label_correct_actual, there.samples),
        share(total.label_correct_actual, total.samples),
        f"{100 * total.agreement:.1f} %",
    ]


if __name__ == "__main__":
    main()
