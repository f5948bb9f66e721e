"""Tuning with real nets in real processes, and times that a formula makes up.

What is slow and noisy is simulated, so that the tests are quick and certain; what can be wrong
(loading, running, judging, files) is real.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from modelcheck.judge.serving import Stretch
from modelcheck.tune.settings import Setting
from modelcheck.tune.workbench import Workbench

Speed = Callable[[Setting], float]  # of a setting: samples a second


def simulated(speed: Speed, *, noise: float = 0.02) -> Callable[..., Stretch]:
    """A `Workbench.measure` that takes no time; the latency follows by Little's law."""
    random = np.random.default_rng(0)

    def measure(self: Workbench, setting: Setting, key: str, seconds: float) -> Stretch:
        rate = speed(setting) * math.exp(random.normal(0, noise))
        return Stretch(setting.nets * setting.batch / rate, rate)

    return measure


def pools_pay(setting: Setting) -> float:
    """Two cores: two nets of one thread do 1.6 times what the default does, and classic is slow."""
    rate = 1000.0 * (0.7 if setting.target.engine == "classic" else 1.0)
    rate *= 0.6 if setting.target.threads == 1 else 1.0
    busy = min(setting.nets, 2) if setting.target.threads == 1 else 1
    return rate * busy * (1.6 / 1.2 if busy == 2 else 1.0) * (1 + 0.01 * (setting.batch > 1))


def nothing_pays(setting: Setting) -> float:
    return 1000.0 if setting.nets == setting.batch == 1 else 600.0
