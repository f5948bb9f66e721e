"""sympy is there for who needs it, and costs nobody else anything."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def output_of(code: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_importing_all_that_a_run_needs_does_not_load_it() -> None:
    code = """
        import sys
        from modelcheck.cli.later import defer_sympy
        defer_sympy()
        from modelcheck import gate, report
        print("sympy.core" in sys.modules)
    """
    assert output_of(code) == "False"


def test_symbolic_dimensions_compute_as_ever() -> None:
    code = """
        import sys
        from modelcheck.cli.later import defer_sympy
        defer_sympy()
        import onnx_ir as ir
        n = ir.SymbolicDim("max(N, 2)")
        print((n * 2).simplify(), ir.SymbolicDim("N") + 1 == ir.SymbolicDim("N + 1"))
        import sympy.abc
        import sympy
        print(sympy.abc.x * 2, sympy is sys.modules["sympy"], isinstance((n + 1)._expr, sympy.Expr))
    """
    assert output_of(code) == "2*Max(2, N) True\n2*x True True"


def test_who_has_it_already_keeps_it() -> None:
    code = """
        import sys, sympy
        from modelcheck.cli.later import defer_sympy
        defer_sympy()
        print(sys.modules["sympy"] is sympy)
    """
    assert output_of(code) == "True"
