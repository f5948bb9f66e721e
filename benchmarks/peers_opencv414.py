"""OpenCV 4's own Net.quantize, which makes a net and no file: all of it in one process.

    python peers_opencv414.py quantize|run MODEL CALIBRATION [JUDGED OUT ROUNDS SECONDS]

Runs in an interpreter with OpenCV 4.14. CALIBRATION and JUDGED are as in peers_tools.py. `quantize`
only quantizes, for its time and memory. `run` writes OUT, an .npz: what the quantized net gives as
'3:name', and 'original 2' and 'quantized 2', seconds a forward on two threads in each round of an
interleaved race.
"""

import sys
import time

import cv2
import numpy as np

from peers_tools import samples_of

_SHORTEST_RUN_S = 1e-3  # as modelcheck's worker: so that the clock is lost in it
_FEWEST_ROUNDS, _WARM_UP_RUNS = 5, 3


def quantized(model, calibration):
    """The net, calibrated with all samples as one batch, or with the first where it takes none.

    Returns also how many samples that were.
    """
    samples = list(samples_of(calibration))
    together = {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
    try:
        return _quantize(model, together), len(samples)
    except cv2.error as error:
        print(f"no batch: {' '.join(str(error).split())}", file=sys.stderr)
        return _quantize(model, samples[0]), 1


def _quantize(model, arrays):
    net = cv2.dnn.readNetFromONNX(model)
    # A bare array would be taken for a list of its rows.
    return net.quantize(list(arrays.values()), cv2.CV_32F, cv2.CV_32F, True)


def run(model, calibration, judged, out, rounds, seconds):
    net, used = quantized(model, calibration)
    nets = {"original": cv2.dnn.readNetFromONNX(model), "quantized": net}
    names = {key: n.getUnconnectedOutLayersNames() for key, n in nets.items()}
    samples = list(samples_of(judged))
    found = {"calibrated": np.array(used)}
    for i, arrays in enumerate(samples):
        outputs = forward(net, arrays, names["quantized"])
        # The two nets list their outputs in one order; only the quantized one renames them.
        pairs = zip(names["original"], outputs, strict=True)
        found.update({f"{i}:{name}": np.asarray(one) for name, one in pairs})
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        for key, times in race(nets, names, samples, int(rounds), float(seconds)).items():
            found[f"{key} {threads}"] = np.array(times)
    np.savez(out, **found)


def race(nets, names, samples, rounds, seconds):
    """Seconds a forward of each net in each round, in turn, as `Stopwatch.race` takes them."""
    repeats = {}
    for key, net in nets.items():
        for _ in range(_WARM_UP_RUNS):
            taken = timed(net, samples[0], names[key], 1)
        repeats[key] = max(1, int(_SHORTEST_RUN_S / max(taken, 1e-7)))
    measured = {key: [] for key in nets}
    begin = time.monotonic()
    for number in range(rounds):
        if number >= _FEWEST_ROUNDS and time.monotonic() - begin > seconds:
            break
        for key in list(nets)[:: 1 if number % 2 else -1]:
            sample = samples[number % len(samples)]
            measured[key].append(timed(nets[key], sample, names[key], repeats[key]))
    return measured


def timed(net, arrays, names, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        forward(net, arrays, names)
    return (time.perf_counter() - start) / repeats


def forward(net, arrays, names):
    for name, value in arrays.items():
        net.setInput(value, name)
    return net.forward(names)


if __name__ == "__main__":
    if sys.argv[1] == "quantize":
        quantized(*sys.argv[2:])
    else:
        run(*sys.argv[2:])
