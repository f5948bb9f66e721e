"""Targets: where models run, in child processes, and the proof that they ran there."""

from modelcheck.targets.session import OpenCV, TargetRefused, TargetSession, Timing
from modelcheck.targets.target import Device, Engine, Placement, Target

__all__ = [
    "Device",
    "Engine",
    "OpenCV",
    "Placement",
    "Target",
    "TargetRefused",
    "TargetSession",
    "Timing",
]
