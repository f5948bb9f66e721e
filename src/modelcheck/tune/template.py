"""Runs a model the way `modelcheck tune` found best. Needs Python 3.8, numpy and cv2, no more.

pool = Pool()
for outputs in pool.run(samples): ...          # samples: {input: array with a batch axis of 1}
for outputs in pool.run_images(images): ...    # images as cv2.imread gives them
"""

import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np

# <settings>
MODEL = "model.onnx"
INPUTS = {"input": ((1, 3, 224, 224), "float32")}
OUTPUTS = ["output"]
ENGINE = "auto"
BACKEND, TARGET = None, None
THREADS = None
NETS = 1
BATCH = 1
WINOGRAD, FUSION = None, None
SIZE, MEAN, STD, RGB = (224, 224), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False
# </settings>


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

    def __init__(self, path=MODEL):
        cv2.setNumThreads(-1 if THREADS is None else THREADS)
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(NETS, initializer=self._start, initargs=(path,))

    def run(self, samples):
        """The outputs of each sample by name, in the order of the samples."""
        samples, waiting = iter(samples), deque()
        while True:
            group = list(islice(samples, BATCH))
            if group:
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


def _from_images(images):
    (name,) = INPUTS
    while True:
        group = list(islice(images, BATCH))
        if not group:
            return
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


if __name__ == "__main__":
    pool = Pool()
    if len(sys.argv) > 1:
        for file, found in zip(sys.argv[1:], pool.run_images(map(cv2.imread, sys.argv[1:]))):
            print(file, {name: array.shape for name, array in found.items()})
    else:
        sample = {name: np.zeros(*like) for name, like in INPUTS.items()}
        for _ in pool.run([sample] * NETS * BATCH):
            pass
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 2:
            count += sum(1 for _ in pool.run([sample] * (8 * NETS * BATCH)))
        print("%.1f samples a second" % (count / (time.perf_counter() - start)))
