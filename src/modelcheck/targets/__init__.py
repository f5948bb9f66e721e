"""Targets: where models run, in child processes, and the proof that they ran there."""

from modelcheck.targets.metering import Memory, MeteredSession, Runs
from modelcheck.targets.placement import (
    FallbackLayer,
    FellBack,
    NotProven,
    Placement,
    check_share,
    listed_layers,
)
from modelcheck.targets.session import (
    Build,
    NetOptions,
    OpenCV,
    TargetRefused,
    TargetSession,
    Timing,
)
from modelcheck.targets.target import Device, Engine, Target

__all__ = [
    "Build",
    "Device",
    "Engine",
    "FallbackLayer",
    "FellBack",
    "Memory",
    "MeteredSession",
    "NetOptions",
    "NotProven",
    "OpenCV",
    "Placement",
    "Runs",
    "Target",
    "TargetRefused",
    "TargetSession",
    "Timing",
    "check_share",
    "listed_layers",
]
