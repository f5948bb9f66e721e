"""The pytest plugin, used as a user's CI would: a file, no code, `pytest --junitxml`."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
_DATA = """
[data]
path = "digits_test.npz"
count = 40
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    for name in ("digits_resnet.onnx", "digits_mlp.onnx", "digits_test.npz"):
        shutil.copy(FIXTURES / name, pytester.path)
    return pytester


def _policy(project: pytest.Pytester, text: str, name: str = "net") -> None:
    (project.path / f"{name}.modelcheck.toml").write_text(text, encoding="utf-8")


def test_a_file_gives_one_item_per_model_target_and_check(project: pytest.Pytester) -> None:
    _policy(
        project,
        _DATA
        + """
[[models]]
original = "digits_resnet.onnx"
candidate = "digits_resnet.onnx"

[[models]]
original = "digits_mlp.onnx"

[[targets]]
engine = "new"

[[targets]]
engine = "classic"
max-slowdown = "90%"
""",
    )
    result = project.runpytest_subprocess("--collect-only", "-q")
    items = [line for line in result.outlines if "::" in line]
    assert len(items) == 6
    assert sum("speed" in item for item in items) == 2
    result = project.runpytest_subprocess("--junitxml=out.xml")
    # A model by itself has no speed-up to judge, which is no pass.
    result.assert_outcomes(passed=5, failed=1)
    cases = ElementTree.parse(project.path / "out.xml").getroot().iter("testcase")
    assert len(list(cases)) == 6


@pytest.mark.long
def test_each_budget_is_an_item_of_its_own(project: pytest.Pytester) -> None:
    _policy(
        project,
        _DATA
        + """
[[models]]
original = "digits_mlp.onnx"

[limits]
max-p50 = "10s"
max-file-size = "1kB"
""",
    )
    result = project.runpytest_subprocess("--junitxml=out.xml")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*max-file-size*", "*FAIL: *file size *at most 1000 B*"])


@pytest.mark.long
def test_a_limit_on_the_worst_error_is_an_item_of_its_own(project: pytest.Pytester) -> None:
    _policy(
        project,
        _DATA
        + """
[[models]]
original = "digits_mlp.onnx"
candidate = "digits_mlp.onnx"

[[targets]]
engine = "new"
threads = 1

[limits]
search-inputs = 20
max-worst-error = 1e-4
""",
    )
    result = project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*worst-case*PASSED*"])


def test_a_candidate_that_is_another_model_fails_with_the_outcome_first(
    project: pytest.Pytester,
) -> None:
    _policy(
        project,
        _DATA
        + """
[[models]]
original = "digits_resnet.onnx"

[[steps]]
transform = "prune-weights"
amount = 0.95

[limits]
min-sqnr = 25
""",
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAIL: cpu auto*logits*"])
    assert "Traceback" not in result.stdout.str()


def test_inconclusive_fails_the_item(project: pytest.Pytester) -> None:
    text = '[[models]]\noriginal = "digits_mlp.onnx"\n[limits]\nmin-agreement = 0.99\n' + _DATA
    _policy(project, text)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INCONCLUSIVE: *"])


def test_only_an_optional_target_skips(project: pytest.Pytester) -> None:
    models = '[[models]]\noriginal = "digits_mlp.onnx"\n'
    _policy(project, _DATA + models + '[[targets]]\ndevice = "cuda"\noptional = true\n', "optional")
    _policy(project, _DATA + models + '[[targets]]\ndevice = "cuda"\n', "required")
    result = project.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1, failed=1)
    result.stdout.fnmatch_lines(["UNSUPPORTED: *"])


def test_each_file_that_cannot_be_used_is_one_failing_item(project: pytest.Pytester) -> None:
    """All in one run, since a run of pytest takes seconds to start."""
    unusable = {
        "": "*INCONCLUSIVE: the file yields no checks*",
        "[[modles]]\n": "*unknown key 'modles'*",
        "[[models]\n": "*is not valid TOML*",
        '[[models]]\noriginal = "absent.onnx"\n': "*absent.onnx*",
    }
    for number, text in enumerate(unusable):
        _policy(project, text, f"unusable{number}")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=len(unusable))
    for expected in unusable.values():
        result.stdout.fnmatch_lines([expected])


def test_the_fixture_fails_a_python_test_that_judges_a_wrong_candidate(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        def test_same(modelcheck_gate):
            result = modelcheck_gate("digits_mlp.onnx", "digits_mlp.onnx", data="digits_test.npz")
            assert result.outcome == "PASS"

        def test_other(modelcheck_gate):
            modelcheck_gate("digits_mlp.onnx", "digits_resnet.onnx", data="digits_test.npz")
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)


def test_each_model_is_verified_once(project: pytest.Pytester) -> None:
    _policy(
        project,
        _DATA
        + """
[[models]]
original = "digits_mlp.onnx"
candidate = "digits_mlp.onnx"

[[targets]]
engine = "new"
max-slowdown = "90%"

[[targets]]
engine = "classic"
max-slowdown = "90%"
""",
    )
    project.makeconftest(
        """
        import modelcheck.gate as gate
        judge, calls = gate.judge, []

        def counted(*args, **kwargs):
            calls.append(1)
            return judge(*args, **kwargs)

        gate.judge = counted

        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line(f"verified {len(calls)} times")
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["verified 1 times"])


_CALLABLES = """
    import numpy as np

    def same_digit(expected, actual):
        return float(np.argmax(expected["logits"]) == np.argmax(actual["logits"]))

    def near(expected, actual):
        return 1 - min(1, float(np.abs(expected["logits"] - actual["logits"]).max()))

    def broken(expected, actual):
        return expected["lgits"].max()
"""


@pytest.mark.long
def test_callables_judge_beside_the_limits_of_the_policy(project: pytest.Pytester) -> None:
    project.makepyfile(
        _CALLABLES
        + """
    def test_same(modelcheck_gate):
        found = modelcheck_gate("digits_mlp.onnx", "digits_mlp.onnx", data="digits_test.npz",
                                metrics={same_digit: 0.99, near: 0.9})
        kinds = {check.kind for check in found.checks}
        assert {"metric same_digit", "metric near"} <= kinds

    def test_other(modelcheck_gate):
        modelcheck_gate("digits_mlp.onnx", "digits_resnet.onnx", data="digits_test.npz",
                        metrics=[near])

    def test_broken(modelcheck_gate):
        modelcheck_gate("digits_mlp.onnx", "digits_mlp.onnx", data="digits_test.npz",
                        metrics=[broken])
    """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines_random(
        ["FAIL: *metric near*", "metric broken: raised KeyError: 'lgits' (sample 0)"]
    )
    assert "Traceback" not in result.stdout.str()
    assert "function.py" not in result.stdout.str()


@pytest.mark.long
def test_each_declared_metric_is_an_item_of_its_own(project: pytest.Pytester) -> None:
    policy = """
[data]
path = "digits_test.npz"

[[models]]
original = "digits_mlp.onnx"
candidate = "digits_mlp.onnx"

[[metrics]]
kind = "top1"
min = 0.99

[[metrics]]
kind = "drop"
max = 0.001
"""
    _policy(project, policy)
    result = project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["INCONCLUSIVE: *metric drop*Give about*"])


@pytest.mark.long
def test_runs_are_recorded_in_the_root_folder_and_held_to_the_last_release(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELCHECK_LEDGER")
    models = '[[models]]\noriginal = "digits_mlp.onnx"\n[limits]\nchecks = ["equivalence"]\n'
    _policy(project, f"{_DATA}{models}")
    project.runpytest_subprocess().assert_outcomes(passed=1)
    _policy(project, f"{_DATA}{models}since-last = true\n")
    project.runpytest_subprocess().assert_outcomes(passed=2)
    _policy(project, f"{_DATA.replace('40', '50')}{models}since-last = true\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*INCONCLUSIVE: *judged on other data*"])
    assert (project.path / ".modelcheck" / "ledger.db").is_file()


@pytest.mark.long
def test_steps_that_leave_options_to_measuring_are_made_explicit_first(
    project: pytest.Pytester,
) -> None:
    _policy(
        project,
        _DATA
        + """
[[steps]]
transform = "fold-batchnorm"

[[steps]]
transform = "quantize"
form = "auto"
skip = "auto"

[[models]]
original = "digits_resnet.onnx"

[limits]
min-sqnr = 20
""",
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)
