"""The noise floor, measured with the real engines; and remembered."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from onnx import helper
from verifying import average, conv, model

from modelcheck.data import open_samples
from modelcheck.judge import NoiseFloor, lower_bound
from modelcheck.model import Model, load
from modelcheck.model.saving import write_private
from modelcheck.process import ChildLimits, Workspace
from modelcheck.recipe import TargetSettings
from modelcheck.reference import open_reference
from modelcheck.targets import Engine, Target
from modelcheck.verification.equivalence import Kept, aligned
from modelcheck.verification.floor_notes import FloorNotes
from modelcheck.verification.floors import Ground, Meter, lane_floors
from modelcheck.verification.lane import Files, Lane
from modelcheck.verification.memory import Memory

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@cache
def digits() -> Model:
    return load(FIXTURES / "digits_resnet.onnx")


def measured(
    net: Model, *engines: str, memory: Memory | None = None, target: str = "cpu:auto:threads=1"
) -> list[NoiseFloor]:
    """The floors of a lane whose original runs on the first engine, its candidate on the last."""
    samples = open_samples(None, net.signature, count=4)
    outputs = tuple(spec.name for spec in net.signature.outputs)
    with Workspace() as workspace, open_reference(net, workspace) as reference:
        path = workspace.path / "net.onnx"
        write_private(net, path)
        lane = Lane(TargetSettings(Target.parse(target)), Files(path, path, outputs), ChildLimits())
        try:
            lane.start()
            assert lane.original is not None
            assert lane.candidate is not None
            lane.load()
            assert lane.original_placement is not None
            where = [
                session.load(path, outputs, engine=Engine(engine))
                for session, engine in zip((lane.original, lane.candidate), engines, strict=True)
            ]
            lane.original_placement, lane.candidate_placement = where
            kept = []
            for sample in samples:
                wanted = reference.run(sample.arrays)
                given = aligned(lane.original.forward(sample.arrays), wanted)
                kept.append(Kept(sample.arrays, wanted, given, None))
            ground = Ground.of_kept(net, kept)
            return list(
                lane_floors(lane, ground, workspace, seed=7, memory=memory, samples=samples.digest)
            )
        finally:
            lane.close()


def sources(floor: NoiseFloor) -> set[str]:
    return {f"{v.what} on {v.engine}" for v in floor.variations}


@pytest.mark.parametrize("engine", ["new", "classic"])
def test_a_floor_comes_from_permutations_and_grows(engine: str) -> None:
    floors = measured(digits(), engine, engine)
    assert len(floors) >= 4
    limits = [floor.noise_limit_of("logits") for floor in floors]
    assert limits == sorted(limits)
    assert f"channels permuted on {engine}" in sources(floors[-1])
    assert ("without Winograd on classic" in sources(floors[-1])) is (engine == "classic")
    assert 0 < floors[-1].largest < 1e-5


@pytest.mark.long
def test_a_lane_on_two_engines_has_the_floor_of_the_larger() -> None:
    *_, floor = measured(digits(), "new", "classic")
    assert {v.engine for v in floor.variations} == {"new", "classic"}
    assert "the original on classic on new" in sources(floor)
    for engine in ("new", "classic"):
        *_, alone = measured(digits(), engine, engine)
        assert floor.noise_limit_of("logits") >= alone.noise_limit_of("logits")


def test_a_model_with_nothing_to_permute_has_its_sums_split() -> None:
    net = conv([helper.make_node("Relu", ["c"], ["y"])])
    *_, floor = measured(net, "new", "new")
    assert sources(floor) == {"sums split on new", "weights rounded anew on new"}
    assert len(floor.variations) == 4
    assert floor.limit < 1e-4


def test_a_model_without_sums_is_compared_with_itself_on_the_other_engine() -> None:
    net = model([helper.make_node("Softmax", ["x"], ["y"])], [1, 8], {}, out=[1, 8])
    *_, floor = measured(net, "new", "new")
    assert sources(floor) == {"the original on classic on new"}
    assert floor.limit == pytest.approx(max(lower_bound(1), 8 * floor.largest))


def test_an_engine_that_is_wrong_is_no_noise() -> None:
    """Classic averages wrongly where padding counts: by half of the scale, which is no licence."""
    *_, floor = measured(conv(average(include_pad=True)), "new", "classic")
    assert {v.engine for v in floor.variations} == {"new"}
    assert floor.limit < 1e-4


class TestMemory:
    def test_a_second_run_measures_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory = Memory(tmp_path)
        first = measured(digits(), "new", "new", memory=memory)

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("measured again")

        monkeypatch.setattr(Meter, "load", refuse)
        assert measured(digits(), "new", "new", memory=memory) == first

    @pytest.mark.parametrize("damage", ["flipped", "cut", "foreign", "empty", "large"])
    def test_a_damaged_or_foreign_note_is_measured_anew(self, tmp_path: Path, damage: str) -> None:
        memory = Memory(tmp_path)
        first = measured(digits(), "new", "new", memory=memory)
        (path,) = tmp_path.glob("*.note")
        text = path.read_text()
        other = FloorNotes(memory, "another")
        other["new: channels permuted 7"] = replace(
            first[0].variations[0], errors={"logits": 5e-3}, noises={"logits": 5e-3}
        )
        other.save()
        path.write_text(
            {
                "flipped": text.replace("e-0", "e-1", 1),
                "cut": text[: len(text) // 2],
                "foreign": (tmp_path / "another.note").read_text(),
                "empty": "",
                "large": text.replace("e-07", "e-01"),
            }[damage]
        )
        assert measured(digits(), "new", "new", memory=memory) == first

    def test_another_model_or_seed_is_measured(self, tmp_path: Path) -> None:
        memory = Memory(tmp_path)
        list(islice(measured(digits(), "new", "new", memory=memory), 1))
        proto = digits().to_proto()
        proto.graph.node[0].name = "another name"
        measured(Model.from_proto(proto), "new", "new", memory=memory)
        assert len(list(tmp_path.glob("*.note"))) == 2

    def test_a_folder_that_cannot_be_written_costs_only_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        notes = FloorNotes(Memory(tmp_path / "file" / "cache"), "key")
        notes["form"] = None
        notes.save()
        assert dict(notes) == {"form": None}
