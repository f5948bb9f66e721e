"""What OpenCV alone makes of a model: nothing of modelcheck has a part in it.

    python trust_bare_cv2.py MODEL.onnx ENGINE SAMPLES.npz OUT.npz NAME...

Runs the first sample; NAME are the outputs, saved by name. It may well die: that is an answer.
"""

import sys

import cv2
import numpy as np


def main():
    model, engine, data, out = sys.argv[1:5]
    names = sys.argv[5:]
    chosen = {"classic": cv2.dnn.ENGINE_CLASSIC, "new": cv2.dnn.ENGINE_NEW}[engine]
    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(model, engine=chosen)
    with np.load(data) as arrays:
        for name in arrays:
            if name != "labels":
                net.setInput(arrays[name][:1], name)
    np.savez(out, **dict(zip(names, net.forward(names), strict=True)))


if __name__ == "__main__":
    main()
