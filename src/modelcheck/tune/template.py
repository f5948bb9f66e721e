"""Runs a model the way `modelcheck tune` found best. Needs Python 3.8, numpy and cv2, no more.

pool = Pool()
for outputs in pool.run(samples): ...          # samples: {input: array with a batch axis of 1}
for outputs in pool.run_images(images): ...    # images as cv2.imread gives them
"""

import os
import sys
import threading
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np

# <settings>
MODEL = "model.onnx"
OPENCV = "5.0.0"  # what it was measured on
INPUTS = {"input": ((1, 3, 224, 224), "float32")}
OUTPUTS = ["output"]
ENGINE = "auto"
BACKEND, TARGET = None, None
THREADS = None
NETS = 1
BATCH = 1
WINOGRAD, FUSION = None, None
SIZE, MEAN, STD, RGB = (224, 224), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False
GRAY = False
NO_IMAGES = ""  # why run_images cannot prepare images as they were
# </settings>


def find_model():
    """MODEL as it is named, or beside this script."""
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), MODEL)
    for path in (MODEL, beside):
        if os.path.isfile(path):
            return path
    raise FileNotFoundError("there is no %s, here or beside this script" % MODEL)


def check_opencv():
    """Another OpenCV may be slower, or give other outputs: say so."""
    if cv2.__version__ != OPENCV:
        warnings.warn("tuned on OpenCV %s; this is %s" % (OPENCV, cv2.__version__), stacklevel=3)
    if ENGINE != "auto" and not hasattr(cv2.dnn, "ENGINE_" + ENGINE.upper()):
        raise RuntimeError("this OpenCV, %s, has no engine to choose" % cv2.__version__)


def read_net(path):
    """A net as it was measured. Its file is read by path: a buffer would lose the engine."""
    if ENGINE == "auto":
        net = cv2.dnn.readNetFromONNX(path)
    else:
        net = cv2.dnn.readNetFromONNX(path, engine=getattr(cv2.dnn, "ENGINE_" + ENGINE.upper()))
    if BACKEND is not None:
        net.setPreferableBackend(getattr(cv2.dnn, "DNN_BACKEND_" + BACKEND))
        net.setPreferableTarget(getattr(cv2.dnn, "DNN_TARGET_" + TARGET))
    if WINOGRAD is not None:
        net.enableWinograd(WINOGRAD)
    if FUSION is not None:
        net.enableFusion(FUSION)
    if net.empty():
        raise RuntimeError("this OpenCV cannot run " + path)
    return net


class Pool:
    """NETS threads, each with a net of its own: cv2 must not share one between threads.

    All samples have one shape: a net that is fed another one may give wrong numbers.
    """

    def __init__(self, path=None):
        check_opencv()
        path = path or find_model()
        read_net(path)  # what is wrong with it is told here, and not by every thread
        cv2.setNumThreads(-1 if THREADS is None else THREADS)
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(NETS, initializer=self._start, initargs=(path,))

    def run(self, samples):
        """The outputs of each sample by name, in the order of the samples."""
        samples, waiting = iter(samples), deque()
        while True:
            group = list(islice(samples, BATCH))
            if group:
                for sample in group:
                    _check_sample(sample)
                waiting.append((len(group), self._threads.submit(self._request, group)))
            if len(waiting) > 2 * NETS or (waiting and not group):
                count, future = waiting.popleft()
                outputs = future.result()
                for i in range(count):
                    yield {n: _row(array, i) for n, array in outputs.items()}
            elif not group:
                return

    def run_images(self, images):
        """As `run`, for images (height, width, channels)."""
        if NO_IMAGES:
            raise RuntimeError("run_images cannot be used: %s. Give arrays to run" % NO_IMAGES)
        return self.run(_from_images(iter(images)))

    def close(self):
        self._threads.shutdown()

    def _start(self, path):
        self._own.net = read_net(path)

    def _request(self, group):
        group = group + [group[-1]] * (BATCH - len(group))  # a net sees one shape only
        net = self._own.net
        for name in INPUTS:
            net.setInput(np.concatenate([sample[name] for sample in group]), name)
        results = net.forward(_known_names(net))
        return {name: np.array(result) for name, result in zip(OUTPUTS, results)}


def _check_sample(sample):
    """A net that is fed another shape than the first may give wrong numbers without a word."""
    shapes = {name: np.shape(array) for name, array in sample.items()}
    wanted = {name: tuple(like[0]) for name, like in INPUTS.items()}
    if shapes != wanted:
        raise ValueError("a sample has the inputs %s; this pool takes %s" % (shapes, wanted))


def _from_images(images):
    (name,) = INPUTS
    while True:
        group = list(islice(images, BATCH))
        if not group:
            return
        if any(image is None for image in group):
            raise ValueError("cv2 could not read an image")
        if GRAY:
            group = [i if i.ndim == 2 else cv2.cvtColor(i, cv2.COLOR_BGR2GRAY) for i in group]
        blob = cv2.dnn.blobFromImages(group, 1.0, SIZE, MEAN, RGB, False)
        blob /= np.float32(STD[: blob.shape[1]]).reshape(1, -1, 1, 1)
        for i in range(len(group)):
            yield {name: blob[i : i + 1]}


def _known_names(net):
    """What this net calls OUTPUTS: the same, but for one that cv2 may have renamed."""
    known = net.getUnconnectedOutLayersNames()
    lost = [name for name in OUTPUTS if name not in known]
    spare = [name for name in known if name not in OUTPUTS]
    renamed = len(lost) == len(spare) == 1
    return [spare[0] if renamed and name == lost[0] else name for name in OUTPUTS]


def _row(array, i):
    n = array.shape[0] // BATCH if array.ndim else 1
    return array if BATCH == 1 else array[i * n : (i + 1) * n]


def main():
    pool = Pool()
    if len(sys.argv) > 1:
        flag = cv2.IMREAD_GRAYSCALE if GRAY else cv2.IMREAD_COLOR
        images = (cv2.imread(file, flag) for file in sys.argv[1:])
        for file, found in zip(sys.argv[1:], pool.run_images(images)):
            print(file, {name: array.shape for name, array in found.items()})
    else:
        sample = {name: np.zeros(*like) for name, like in INPUTS.items()}
        for _ in pool.run([sample] * NETS * BATCH):
            pass
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 2:
            count += sum(1 for _ in pool.run([sample] * (8 * NETS * BATCH)))
        print("%.1f samples a second" % (count / (time.perf_counter() - start)))


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError, cv2.error) as error:
        sys.exit("%s: %s" % (sys.argv[0], error))
