"""Saved reports: written whole or not at all, and a release is held to exactly what passed."""

from __future__ import annotations

import copy
import json
import os
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.errors import InvalidInput, OutputNotWritten, UsageError
from modelcheck.model import Model, load, save
from modelcheck.recipe import parse_step
from modelcheck.report import (
    SCHEMA,
    Report,
    check_report_path,
    objection,
    read_report,
    report_beside,
    save_report,
    to_text,
)


@pytest.fixture(scope="module")
def passed(report: Report) -> Model:
    assert report.verification.plan.candidate is not None
    return report.verification.plan.candidate


@pytest.fixture(scope="module")
def document(report: Report) -> dict[str, typing.Any]:
    return json.loads(to_text(report))


class TestReleases:
    def test_the_model_that_passed_is_released(
        self, document: dict, passed: Model, tmp_path: Path
    ) -> None:
        assert objection(document, passed) is None
        save(passed, tmp_path / "out.onnx")
        assert objection(document, load(tmp_path / "out.onnx")) is None

    def test_the_original_or_any_other_model_is_not(
        self, document: dict, report: Report, passed: Model
    ) -> None:
        pruned = parse_step("prune-weights:amount=0.01")(passed)
        for other in (report.verification.plan.original, pruned):
            reason = objection(document, other)
            assert reason is not None
            assert other.digest[:12] in reason
            assert passed.digest[:11] in reason

    def test_a_model_that_was_verified_alone_is_released(
        self, document: dict, report: Report, passed: Model
    ) -> None:
        alone = {**document, "candidate": None}
        assert objection(alone, report.verification.plan.original) is None
        assert objection(alone, passed) is not None

    @pytest.mark.parametrize("outcome", ["FAIL", "INCONCLUSIVE", "UNSUPPORTED", "pass", None, 0])
    def test_only_a_pass_is_released(self, document: dict, passed: Model, outcome: object) -> None:
        reason = objection({**document, "outcome": outcome}, passed)
        assert reason == f"the report's verdict is {outcome}"

    @pytest.mark.parametrize("judged", [[], ["speed"], None, "equivalence", {}, 1])
    def test_a_run_that_judged_no_equivalence_releases_nothing(
        self, document: dict, passed: Model, judged: object
    ) -> None:
        assert objection({**document, "judged": judged}, passed) == (
            "the report judged no equivalence"
        )

    @pytest.mark.parametrize("change", [{"targets": []}, {"targets": None}, {"exit_code": 1}])
    def test_a_report_that_contradicts_its_verdict_releases_nothing(
        self, document: dict, passed: Model, change: dict
    ) -> None:
        assert "contradicts itself" in str(objection({**document, **change}, passed))

    def test_a_report_of_a_failed_check_releases_nothing(
        self, document: dict, passed: Model
    ) -> None:
        failed = copy.deepcopy(document)
        failed["targets"][-1]["checks"][0]["outcome"] = "FAIL"
        assert "contradicts itself" in str(objection(failed, passed))

    @pytest.mark.parametrize("key", ["outcome", "judged", "candidate"])
    def test_a_report_that_lacks_what_decides_releases_nothing(
        self, document: dict, passed: Model, key: str
    ) -> None:
        assert objection({k: v for k, v in document.items() if k != key}, passed) is not None

    @pytest.mark.parametrize("candidate", [{}, [], "x", 1, {"digest": None}, {"digest": ["a"]}])
    def test_a_damaged_candidate_is_not_taken_for_the_original(
        self, document: dict, report: Report, candidate: object
    ) -> None:
        damaged = {**document, "candidate": candidate}
        assert objection(damaged, report.verification.plan.original) is not None

    @given(st.data())
    def test_any_damage_to_what_decides_holds_the_release(
        self, document: dict, passed: Model, data: st.DataObject
    ) -> None:
        damaged = copy.deepcopy(document)
        junk = st.none() | st.booleans() | st.integers() | st.text() | st.just([]) | st.just({})
        key = data.draw(st.sampled_from(["outcome", "judged", "candidate"]))
        damaged[key] = data.draw(junk)
        assert objection(damaged, passed) is not None


class TestReading:
    def test_what_was_saved_is_read(self, report: Report, document: dict, tmp_path: Path) -> None:
        save_report(report, tmp_path / "r.json")
        assert read_report(tmp_path / "r.json").keys() == document.keys()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"{}",
            b'"modelcheck.report/1"',
            b'{"schema": "modelcheck.report/2"}',
            b'{"schema": null}',
            b"\xff\xfe\x00",
            b"\x00" * 100,
            b"[" * 200_000,
            b'{"schema": "modelcheck.report/1"',
            b"<?xml version='1.0'?><testsuites/>",
        ],
    )
    def test_a_damaged_report_is_refused_with_the_way_to_a_new_one(
        self, content: bytes, tmp_path: Path
    ) -> None:
        path = tmp_path / "r.json"
        path.write_bytes(content)
        with pytest.raises(InvalidInput) as caught:
            read_report(path)
        assert caught.value.exit_code == 3
        assert caught.value.where == str(path)
        assert "apply --verify" in (caught.value.remedy or "")

    def test_a_report_cut_short_anywhere_is_refused(self, report: Report, tmp_path: Path) -> None:
        text = to_text(report).encode().rstrip()
        path = tmp_path / "r.json"
        for end in range(0, len(text), max(1, len(text) // 40)):
            path.write_bytes(text[:end])
            with pytest.raises(InvalidInput):
                read_report(path)

    def test_what_is_no_file_is_refused_without_waiting_for_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", tmp_path / ("x" * 300)):
            with pytest.raises(InvalidInput):
                read_report(path)

    def test_the_smallest_report_of_our_schema_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "r.json").write_text(json.dumps({"schema": SCHEMA}))
        assert read_report(tmp_path / "r.json") == {"schema": SCHEMA}


class TestWriting:
    @pytest.mark.parametrize("name", ["r.json", "r.JSON", "r.xml", "a.b.xml"])
    def test_the_suffix_chooses_the_format(self, name: str, report: Report, tmp_path: Path) -> None:
        save_report(report, tmp_path / name)
        start = (tmp_path / name).read_text(encoding="utf-8")[:5]
        assert start == ("<?xml" if name.endswith("xml") else '{\n "s')
        assert [p.name for p in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("name", ["r", "r.html", "r.json.gz", "json", ".json"])
    def test_another_suffix_is_refused_before_the_work(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"report\.json"):
            check_report_path(tmp_path / name)

    def test_a_failed_write_leaves_the_old_report(self, report: Report, tmp_path: Path) -> None:
        path = tmp_path / "gone" / "r.json"
        with pytest.raises(OutputNotWritten) as caught:
            save_report(report, path)
        assert caught.value.exit_code == 7
        folder = tmp_path / "r.json"
        folder.mkdir()
        with pytest.raises(OutputNotWritten):
            save_report(report, folder)
        assert [p.name for p in tmp_path.iterdir()] == ["r.json"]

    def test_the_report_stands_beside_its_model(self) -> None:
        assert report_beside(Path("a/out.onnx")) == Path("a/out.onnx.modelcheck.json")
