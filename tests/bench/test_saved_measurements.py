"""Saved measurements: what is written is read again; what is damaged or elsewhere is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import FIXTURES, OPENCV, result, row, subject

from modelcheck.bench import (
    Baseline,
    Bench,
    check_save_path,
    compare,
    find_differences,
    machine,
    read_baseline,
    save,
    to_document,
)
from modelcheck.errors import InvalidInput, ModelcheckError, OutputNotWritten, UsageError
from modelcheck.targets import Placement, Target

CLASSIC = Target.parse("cpu:classic")


def saved(found: Bench, folder: Path) -> Path:
    path = folder / "bench.json"
    save(to_document(found, command="modelcheck bench"), path)
    return path


def reread(found: Bench, folder: Path) -> Baseline:
    return read_baseline(saved(found, folder))


class TestRoundTrip:
    def test_rows_are_found_again_by_model_and_target(self, tmp_path: Path) -> None:
        found = result(row(0.02), row(0.04, target=CLASSIC))
        before = reread(found, tmp_path)
        assert find_differences(before, found.rows) == []
        now = result(row(0.01), row(0.04, target=CLASSIC))
        speedups = [round(c.speedup.value, 2) for c in compare(before, now)]
        assert speedups == [2.0, 1.0]

    def test_what_the_baseline_does_not_hold_is_not_compared(self, tmp_path: Path) -> None:
        before = reread(result(row(), row(target=CLASSIC, failure="gone")), tmp_path)
        now = result(row(), row(target=CLASSIC))
        assert [c.row for c in compare(before, now)] == [0]
        other = result(row(of=subject("digits_vit.onnx")))
        with pytest.raises(UsageError, match="none of these models") as caught:
            before.check_alike(other.plan)
        assert "digits_mlp.onnx on cpu auto" in str(caught.value)

    def test_another_model_of_the_same_name_is_another_model(self, tmp_path: Path) -> None:
        before = reread(result(row()), tmp_path)
        impostor = replace(subject("digits_vit.onnx"), label="digits_mlp.onnx")
        assert compare(before, result(row(of=impostor))) == ()

    def test_open_bounds_are_null_and_the_file_has_no_nan_literal(self, tmp_path: Path) -> None:
        text = saved(result(row(processes=4)), tmp_path).read_text()
        assert "NaN" not in text
        assert "Infinity" not in text
        assert json.loads(text)["rows"][0]["latency_s"]["p99"]["high"] is None


class TestConditions:
    @pytest.mark.parametrize("fact", ["processor", "cores", "features", "kernel", "governor"])
    def test_another_machine_is_refused_and_the_message_says_what_differs(
        self, fact: str, tmp_path: Path
    ) -> None:
        found = result(row())
        before = reread(found, tmp_path)
        elsewhere = replace(before, machine={**before.machine, fact: "another"})
        with pytest.raises(UsageError, match="same conditions") as caught:
            elsewhere.check_conditions(found.rows)
        assert f"{fact}: another there" in str(caught.value)
        assert "--force" in str(caught.value)

    def test_so_are_another_build_another_place_and_other_inputs(self, tmp_path: Path) -> None:
        before = reread(result(row()), tmp_path)
        one = row()
        arrays = [{"image": one.subject.samples[0]["image"].repeat(2, axis=0)}]
        for changed, said in (
            (replace(one, opencv=replace(OPENCV, build_digest="1" * 64)), "build 11111111"),
            (replace(one, placement=Placement("cpu auto", "cpu classic", ("x",))), "cpu classic"),
            (replace(one, subject=replace(one.subject, samples=arrays)), "image=2x1x8x8 here"),
        ):
            with pytest.raises(UsageError) as caught:
                before.check_conditions([changed])
            assert said in str(caught.value)

    def test_features_are_told_by_those_that_differ(self) -> None:
        there, here = {"features": "avx avx2 sse"}, {"features": "avx avx512f sse"}
        assert machine.differences(there, here) == ["features: avx2 there, avx512f here"]


def without(*keys: str | int) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


def put(value: object, *keys: str | int) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


class TestBadFiles:
    @pytest.mark.parametrize(
        "change",
        [
            without("rows"),
            without("machine"),
            without("rows", 0, "model", "digest"),
            put(-1.0, "rows", 0, "processes", 0, "p50_s"),
            put(0, "rows", 0, "processes", 0, "p50_s"),
            put("fast", "rows", 0, "processes", 0, "p50_s"),
            put({"cores": [2]}, "machine"),
            put("modelcheck.report/1", "schema"),
            put(None, "schema"),
        ],
    )
    def test_a_damaged_one_is_refused(self, change: Callable[[Any], None], tmp_path: Path) -> None:
        path = saved(result(row()), tmp_path)
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        with pytest.raises(InvalidInput) as caught:
            read_baseline(path)
        assert caught.value.exit_code == 3
        assert "bench.json" in str(caught.value)

    def test_a_newer_one_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "bench.json"
        path.write_text('{"schema": "modelcheck.bench/2"}')
        with pytest.raises(InvalidInput, match="newer modelcheck"):
            read_baseline(path)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": "modelcheck.bench/99999999999"}']
    )
    def test_what_is_no_measurement_is_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "bench.json"
        path.write_text(text)
        with pytest.raises(InvalidInput):
            read_baseline(path)

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused(self, data: bytes) -> None:
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(data)
            file.flush()
            with pytest.raises(InvalidInput):
                read_baseline(Path(file.name))

    def test_a_folder_is_no_measurement_and_nothing_is_none_either(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput):
            read_baseline(tmp_path)
        with pytest.raises(UsageError, match="no such file"):
            read_baseline(tmp_path / "absent.json")


class TestSavePaths:
    def test_an_input_a_folder_a_link_and_another_suffix_are_refused(self, tmp_path: Path) -> None:
        model = tmp_path / "net.json"
        model.write_bytes((FIXTURES / "digits_mlp.onnx").read_bytes())
        (tmp_path / "folder.json").mkdir()
        (tmp_path / "link.json").symlink_to(model)
        for path in (model, tmp_path / "folder.json", tmp_path / "link.json", tmp_path / "b.csv"):
            with pytest.raises(ModelcheckError) as caught:
                check_save_path(path, [model])
            assert caught.value.exit_code == 2

    def test_a_folder_that_is_not_there_is_told_before_the_work(self, tmp_path: Path) -> None:
        with pytest.raises(OutputNotWritten):
            check_save_path(tmp_path / "absent" / "bench.json", [])

    def test_an_earlier_measurement_is_replaced(self, tmp_path: Path) -> None:
        path = saved(result(row(0.01)), tmp_path)
        check_save_path(path, [])
        assert saved(result(row(0.05)), tmp_path) == path
        assert read_baseline(path).rows[0].processes[0].p50_s == pytest.approx(0.05, rel=0.1)
