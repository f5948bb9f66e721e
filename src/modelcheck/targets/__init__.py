"""Targets: where models run, in child processes, and the proof that they ran there."""

from modelcheck.targets.placement import FellBack, NotProven, Placement, check_share
from modelcheck.targets.session import NetOptions, OpenCV, TargetRefused, TargetSession, Timing
from modelcheck.targets.target import Device, Engine, Target

__all__ = [
    "Device",
    "Engine",
    "FellBack",
    "NetOptions",
    "NotProven",
    "OpenCV",
    "Placement",
    "Target",
    "TargetRefused",
    "TargetSession",
    "Timing",
    "check_share",
]
