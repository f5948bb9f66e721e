"""sympy when somebody computes with it, and not before.

onnx_ir imports sympy, which takes 0.3 s of each command, to compute with symbolic dimensions;
modelcheck only names and compares them.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from types import ModuleType
from typing import Any

_NAME = "sympy"
# What onnx_ir puts into a table when it is imported, to call it later. All else loads sympy.
_FUNCTIONS = frozenset({"Max", "Min", "Mod", "floor", "sqrt"})


class _Later(ModuleType):
    """Stands in `sys.modules` until the module itself is needed."""

    def __getattr__(self, name: str) -> Any:
        if name in _FUNCTIONS:
            return partial(_call, name)
        return getattr(_module(), name)


def defer_sympy() -> None:
    """Let `import sympy` import nothing yet; for a process of our own, not for a library."""
    sys.modules.setdefault(_NAME, _Later(_NAME))


def _call(name: str, *values: Any) -> Any:
    return getattr(_module(), name)(*values)


def _module() -> ModuleType:
    if isinstance(sys.modules.get(_NAME), _Later):
        del sys.modules[_NAME]
    return importlib.import_module(_NAME)
