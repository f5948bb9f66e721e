"""A head start: the children of a run import their libraries while this process imports its own.

Either takes a second and uses one core. Nothing heavy may be imported here before the first child
is started.
"""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Iterator
from pathlib import Path

from modelcheck.cli.options import DataOptions, LimitOptions, RunOptions

_PACKAGE = Path(__file__).parents[1]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def head_start(
    data: DataOptions, limits: LimitOptions, run: RunOptions, *, pair: bool
) -> Iterator[None]:
    """Start the reference, the workers of the targets on the command line, and a decoder; import.

    Children that the run has no use for are ended with it: targets may come from a recipe, and
    are taken for the default one.
    """
    from modelcheck.process import ChildLimits, Command, Spares

    memory_bytes = ChildLimits(memory_bytes=run.memory_limit << 20).address_space()
    with Spares() as spares:
        spares.start(Command.of(_PACKAGE / "reference" / "worker.py", memory_bytes=memory_bytes))
        with undisturbed():
            from modelcheck.targets import Target
            from modelcheck.targets.session import environment
        for target in map(Target.parse, limits.target or ["cpu"]):
            command = Command.of(
                _PACKAGE / "targets" / "worker.py",
                memory_bytes=memory_bytes, python=target.python, environment=environment(target),
            )  # fmt: skip
            for _ in range(2 if pair else 1):
                if target.device.is_cpu:
                    spares.start(command)
        with undisturbed():
            from modelcheck import gate, report  # noqa: F401
            from modelcheck.cli import request  # noqa: F401
            from modelcheck.data.images import decoder_command
        if data.data is not None and data.data.is_dir():
            spares.start(decoder_command())
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """For imports: signals wait, and nobody looks for garbage.

    An exception out of a signal handler crashes a native module that is being initialized. And
    imports make no garbage, but looking for it takes a tenth of their time.
    """
    came: list[int] = []
    handlers = [(n, signal.signal(n, lambda number, _: came.append(number))) for n in _SIGNALS]
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        for number, handler in handlers:
            signal.signal(number, handler)
        for waiting in came:
            signal.raise_signal(waiting)
