"""onnxsim's check of what it simplified, with its defaults. Runs in onnxsim's own environment.

Each line of stdin is {"original": path, "candidate": path, "shapes": {name: shape}}, each line of
stdout {"caught": bool, "why": text}: `onnxsim.model_checking.compare` (5 inputs uniform in [0, 1),
rtol 1e-4, atol 1e-5).
"""

import contextlib
import json
import sys

import numpy as np
import onnx
from onnxsim.model_checking import compare


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        np.random.seed(0)  # compare draws its inputs from there
        try:
            with contextlib.redirect_stdout(sys.stderr):
                models = [onnx.load(asked[key]) for key in ("candidate", "original")]
                caught, why = not compare(*models, input_shapes=asked["shapes"]), ""
        except Exception as error:
            caught, why = True, f"{type(error).__name__}: {error}"[:200]
        print(json.dumps({"caught": caught, "why": why}), flush=True)


if __name__ == "__main__":
    main()
