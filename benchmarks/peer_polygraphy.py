"""polygraphy's comparison of two models, with its defaults. Runs in polygraphy's own environment.

Each line of stdin is {"original": path, "candidate": path, "shapes": {name: shape}}, each line of
stdout {"caught": bool, "why": text}. The same as
    polygraphy run original.onnx --onnxrt --save-outputs o.json
    polygraphy run candidate.onnx --onnxrt --load-outputs o.json
(inputs uniform in [0, 1), seed 1; rtol = atol = 1e-5), in one process.
"""

import contextlib
import json
import sys

from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.common import TensorMetadata
from polygraphy.comparator import Comparator, DataLoader
from polygraphy.logger import G_LOGGER


def main():
    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                caught, why = differ(**asked), ""
        except Exception as error:
            caught, why = True, f"{type(error).__name__}: {error}"[:200]
        print(json.dumps({"caught": caught, "why": why}), flush=True)


def differ(original, candidate, shapes):
    metadata = TensorMetadata()
    for name, shape in shapes.items():
        metadata.add(name, None, tuple(shape))
    runners = [
        OnnxrtRunner(SessionFromOnnx(path), name=name)
        for name, path in (("original", original), ("candidate", candidate))
    ]
    found = Comparator.run(runners, data_loader=DataLoader(input_metadata=metadata))
    return not Comparator.compare_accuracy(found)


if __name__ == "__main__":
    main()
