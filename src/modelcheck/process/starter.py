"""Starts processes from a thread that lives as long as this process does.

The kernel kills a child together with the *thread* that made it (PR_SET_PDEATHSIG in `serve.py`),
so a thread of a pool, which may end before the child, must not be that thread.
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen(command, **options)`, from whichever thread it is called."""

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, **options)

    if threading.current_thread() is threading.main_thread():
        return popen()
    return _lasting_thread().submit(popen).result()


@functools.cache
def _lasting_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="modelcheck-starter")


os.register_at_fork(after_in_child=_lasting_thread.cache_clear)
