"""Cases for the judge of equivalence, and faults to plant in them."""

import numpy as np
from hypothesis import strategies as st

from modelcheck.judge import (
    Agreement,
    Comparison,
    EquivalenceCase,
    NoiseFloor,
    Variation,
    is_class_scores,
    judge_equivalence,
)


def floor_of(largest, length, *, noise=None):
    """A measured floor of output 'y'; `noise` is as large as the largest error where not given."""
    found = Variation("test", "new", {"y": largest}, {"y": largest if noise is None else noise})
    return NoiseFloor((found,), length)


SEEDS = st.integers(0, 2**32 - 1)
FLOOR = floor_of(5e-7, 576)


def compare(expected, actual):
    comparison = Comparison(["y"])
    for sample, (x, y) in enumerate(zip(expected, actual, strict=True)):
        comparison.update({"y": x[None]}, {"y": y[None]}, sample)
    return comparison.result()


def agree(expected, actual):
    if not is_class_scores(expected.shape):
        return {}
    agreement = Agreement()
    agreement.update(expected, actual)
    return {"y": agreement.result()}


def make_case(claim, reference, original, candidate, **options):
    """Arrays of (samples, channels, ...); `candidate` None verifies the original alone."""
    last = original if candidate is None else candidate
    return EquivalenceCase(
        target="cpu new",
        claim=claim,
        target_drift=compare(reference, original),
        transform_drift=None if candidate is None else compare(original, candidate),
        total=compare(reference, last),
        target_agreement=agree(reference, original),
        total_agreement=agree(reference, last),
        **{"judged_samples": len(reference), "noise_floor": FLOOR, **options},
    )


def judge(claim, reference, original, candidate, **options):
    return judge_equivalence(make_case(claim, reference, original, candidate, **options))


def outputs(seed=0, shape=(20, 8, 4, 4)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rounded(x, seed=1, by=1e-7):
    """The same mathematics in another order of summation."""
    noise = np.random.default_rng(seed).uniform(-by, by, size=x.shape)
    return (x + noise * np.abs(x).max()).astype(x.dtype)


def flip_channel(y):
    y[:, 3] *= -1


def scale_channel(y):
    y[:, 3] *= 1.05


def scale_channel_slightly(y):
    y[:, 3] *= 1.001


def shift_bias(y):
    y[:, 3] += 0.05 * y.std()


def swap_channels(y):
    y[:, [2, 3]] = y[:, [3, 2]]


def put_nan(y):
    y[7, 3, 1, 1] = np.nan


def put_opencv_nan(y):
    y[7, 3, 1, 1] = 3.4e38


def move_padding(y):
    y[:] = np.roll(y, 1, axis=-1)


FAULTS = [
    flip_channel,
    scale_channel,
    scale_channel_slightly,
    shift_bias,
    swap_channels,
    put_nan,
    put_opencv_nan,
    move_padding,
]
