"""Recipe files: one schema, both spellings, and errors that name file, table, key and remedy."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from complete_recipe import COMPLETE, FILE, document, hyphenated, tables
from toml_text import toml

from modelcheck.data import Preprocessing
from modelcheck.errors import UsageError
from modelcheck.judge import Limits, parse_limit
from modelcheck.judge.budgets import KINDS, Budget
from modelcheck.judge.metrics import MetricSpec
from modelcheck.recipe import (
    Baseline,
    CheckKind,
    DataSettings,
    Judging,
    ModelPair,
    Recipe,
    TargetSettings,
    load_recipe,
    parse_duration,
    parse_recipe,
)
from modelcheck.recipe.schema import Table
from modelcheck.targets import Device, Engine, Target
from modelcheck.transforms import Claim


def error_of(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text, file=FILE)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("edge.toml")
    return caught.value


def budgets(bounds: tuple[float, ...]) -> tuple[Budget, ...]:
    return tuple(Budget(key, y) for key, y in zip(KINDS, bounds, strict=True))


class TestAccepted:
    def test_every_key_reaches_the_recipe(self) -> None:
        recipe = parse_recipe(toml(COMPLETE), file=FILE)
        folder = Path("/where")
        top5, boxes = recipe.targets[1].limits.metrics
        assert top5 == MetricSpec("top5", 0.99, options=(("output", ""),))
        assert (boxes.kind, boxes.limit) == ("boxes", 0.95)
        given = {"boxes": "b", "scores": "s", "min_score": 0.4, "iou": 0.5}
        assert given.items() <= dict(boxes.options).items()
        metrics = (top5, boxes)
        assert recipe.seed == 42
        assert recipe.file == FILE
        assert recipe.data == DataSettings(
            path=folder / "images",
            calibration=folder / "calibration.npz",
            count=10,
            shapes={"image": (1, 3, 8, 8), "scale_factor": ()},
            allow_synthetic=True,
            preprocessing=Preprocessing(
                size=(224, 160), resize="letterbox", pad_value=(114, 114, 114), rgb=True,
                mean=(1.5, 2, 3), std=255, layout="NHWC", dtype="float32",
            ),
        )  # fmt: skip
        assert [s.name for s in recipe.steps] == ["quantize-weights", "identity"]
        assert recipe.steps[0].options["per_channel"] is False
        shared = (0.02, 0.03, 0.04, 30.0, 1.0, float(1 << 30), 2e7)
        own = (0.01, 0.012, 0.015, 60.0, 0.3, float(200 << 20), 1e7)
        assert recipe.targets == (
            TargetSettings(
                Target(Device.CPU, Engine.CLASSIC, 2, "/where/cv4/bin/python", True),
                Limits(
                    parse_limit("min-sqnr=25"),
                    min_speedup=1.5,
                    max_slowdown=0.2,
                    max_fallback=0.1,
                    budgets=budgets(shared),
                    search_inputs=200,
                    max_worst_error=0.3,
                    metrics=(replace(top5, limit=0.9), boxes),
                ),
            ),
            TargetSettings(
                Target(),
                Limits(
                    parse_limit("min-agreement=0.99,min-sqnr=30,max-error=0.1"),
                    min_speedup=1.1,
                    max_slowdown=0.03,
                    max_fallback=0.05,
                    budgets=budgets(own),
                    search_inputs=50,
                    max_worst_error=0.4,
                    metrics=metrics,
                ),
            ),
            TargetSettings(
                Target(),
                Limits(
                    parse_limit("min-agreement=0.9|min-sqnr=20,max-error=0.5"),
                    1.1,
                    0.2,
                    0.1,
                    budgets(shared),
                    200,
                    0.4,
                    metrics=metrics,
                ),
            ),
        )
        assert recipe.judging == Judging(
            Claim.LOSSY, frozenset(CheckKind), Baseline.BEST, 120.0, True, 0.05
        )
        assert recipe.models == (
            ModelPair(folder / "net.onnx", Path("/abs/small.onnx")),
            ModelPair(folder / "../a.onnx"),
        )

    def test_the_complete_example_above_is_complete(self) -> None:
        """Whoever adds a key to the schema is led here, and to the test of what it does."""
        given = {"": set(COMPLETE)}
        for name, value in COMPLETE.items():
            for table in value if isinstance(value, list) else [value]:
                if isinstance(table, dict):
                    given.setdefault(name, set()).update(table)
        given["data.preprocessing"] = set(COMPLETE["data"]["preprocessing"])
        for path, owner in tables():
            missing = set(owner.model_fields) - given[path.strip("[] 1")]
            # Forms that exclude each other are shown in other tables, or by other tests.
            elsewhere = {"min_agreement", "min_sqnr", "max_error", "any_of", "limit"}
            assert missing <= elsewhere | {"shorter_side"}, path

    def test_both_spellings_of_every_key_say_the_same(self) -> None:
        written, hyphens = toml(COMPLETE), toml(hyphenated(COMPLETE))
        assert "allow-synthetic" in hyphens
        assert "allow-synthetic" not in written
        one, other = (parse_recipe(text, file=FILE) for text in (written, hyphens))
        assert [s.options for s in one.steps] == [s.options for s in other.steps]
        for field in ("data", "targets", "judging", "models", "seed"):
            assert getattr(one, field) == getattr(other, field)

    @pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n", "\ufeff", "\ufeffseed = 0\r\n"])
    def test_an_empty_file_asks_for_the_defaults(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "r.toml"
        path.write_bytes(text.encode())
        assert load_recipe(path) == Recipe(file=path)

    def test_shared_limits_hold_where_no_target_is_named(self) -> None:
        recipe = parse_recipe("[limits]\nmin-speedup = 1.5", file=FILE)
        assert recipe.targets == (TargetSettings(Target(), Limits(min_speedup=1.5)),)

    def test_an_interpreter_by_name_is_looked_up_and_by_path_is_relative_to_the_file(self) -> None:
        for written, found in (("python3.9", "python3.9"), ("./py", "/where/py"), ("/a", "/a")):
            recipe = parse_recipe(f'[[targets]]\npython = "{written}"', file=FILE)
            assert recipe.targets[0].target.python == found

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("60s", 60), ("500 ms", 0.5), ("2min", 120), ("2m", 120), ("1.5h", 5400), ("7", 7),
         (30, 30), (0.5, 0.5), (1e16, 1e16), ("1e2s", 100)],
    )  # fmt: skip
    def test_durations(self, text: str | float, seconds: float) -> None:
        assert parse_duration(text, key="time-budget") == pytest.approx(seconds)


class TestRefused:
    @pytest.mark.parametrize(("path", "owner"), list(tables()))
    def test_an_unknown_key_in_any_table_is_named_with_the_nearest_word(
        self, path: str, owner: type[Table]
    ) -> None:
        for name in owner.model_fields:
            key = name.replace("_", "-")
            typo = key + "x"
            error = error_of(document(path, f"{typo} = 1"))
            assert f"unknown key '{typo}'" in error.what
            assert str(error.where).endswith(path or "edge.toml")
            assert error.remedy == f"Did you mean '{key}'?"

    @pytest.mark.parametrize(("path", "owner"), list(tables()))
    def test_a_word_near_none_lists_those_there_are(self, path: str, owner: type[Table]) -> None:
        remedy = error_of(document(path, "qqqqqqqqqqqq = 1")).remedy or ""
        assert all(name.replace("_", "-") in remedy for name in owner.model_fields)

    @pytest.mark.parametrize(
        ("path", "key"),
        [("[limits]", "min-sqnr"), ("[data]", "allow-synthetic"), ("[[targets]]", "max-error"),
         ("[data.preprocessing]", "pad-value")],
    )  # fmt: skip
    def test_a_key_in_both_spellings_is_given_twice(self, path: str, key: str) -> None:
        error = error_of(f"{path}\n{key} = 1\n{key.replace('-', '_')} = 1")
        assert f"'{key}' is given twice" in error.what
        assert path in str(error.where)

    def test_toml_itself_refuses_a_key_given_twice(self) -> None:
        assert "overwrite" in error_of("seed = 1\nseed = 2").what

    @pytest.mark.parametrize(
        ("text", "where", "what"),
        [
            ("seed = -1", "", "'seed' must be at least 0 (got -1)"),
            ("seed = 1.5", "", "'seed' must be a whole number (got 1.5)"),
            ("seed = true", "", "'seed' must be a whole number (got true)"),
            ("seed = 1979-05-27", "", "'seed' must be a whole number (got 1979-05-27)"),
            ("data = 5", "", "'data' must be a table (got 5)"),
            ("limits = []", "", "'limits' must be a table"),
            ("targets = 5", "", "'targets' must be a list"),
            ("[targets]\nthreads = 1", "", "'targets' must be a list"),
            ("targets = [5]", "[[targets]] 1", "must be a table (got 5)"),
            ("steps = [5]", "", "'steps 1' must be a table (got 5)"),
            ("[data]\npath = 5", "[data]", "'path' must be text (got 5)"),
            ("[data]\ncount = 0", "[data]", "'count' must be at least 1"),
            ("[data]\ncount = true", "[data]", "'count' must be a whole number (got true)"),
            ("[data]\nallow-synthetic = 1", "[data]", "must be true or false (got 1)"),
            ('[data]\nallow-synthetic = "yes"', "[data]", "must be true or false (got 'yes')"),
            ("[data.shapes]\nx = 5", "[data]", "'shapes.x' must be a list"),
            ("[data.shapes]\nx = [1, -2]", "[data]", "'shapes.x 2' must be at least 0"),
            ("[data]\npreprocessing = 1", "[data]", "'preprocessing' must be a table"),
            ("[data.preprocessing]\nsize = [1, 2, 3]", "[data.preprocessing]", "a list of 2"),
            ("[data.preprocessing]\nsize = [1, 'a']", "[data.preprocessing]", "'size 2' must be"),
            ("[data.preprocessing]\nmean = [1, 2]", "[data.preprocessing]", "'mean 3' is missing"),
            ("[data.preprocessing]\nmean = 'a'", "[data.preprocessing]", "must be a number"),
            ("[data.preprocessing]\nresize = 'strech'", "[data], resize", "'strech'"),
            ("[[targets]]\nthreads = 0", "[[targets]] 1", "'threads' must be at least 1"),
            ("[[targets]]\nthreads = '2'", "[[targets]] 1", "must be a whole number (got '2')"),
            ("[[targets]]\ndevice = 3", "[[targets]] 1", "'device' must be one of cpu, cpu-fp16"),
            ("[[targets]]\n[[targets]]\nengine = 'clasic'", "[[targets]] 2", "'engine' must be"),
            ("[[targets]]\nengine = 'new:optional'", "[[targets]] 1", "'engine' must be one of"),
            ("[[targets]]\ndevice = 'cpu:new'", "[[targets]] 1", "'device' must be one of"),
            ("[limits]\nclaim = 'exactly'", "[limits]", "must be one of exact, precision, lossy"),
            ("[limits]\nchecks = []", "[limits]", "'checks' must have at least 1 value"),
            ("[limits]\nchecks = 'speed'", "[limits]", "'checks' must be a list"),
            ("[limits]\nchecks = ['speeed']", "[limits]", "'checks 1' must be one of"),
            ("[limits]\nmin-sqnr = nan", "[limits]", "'min-sqnr' must be a finite number"),
            ("[limits]\nmin-sqnr = inf", "[limits]", "'min-sqnr' must be a finite number"),
            ("[limits]\nmin-sqnr = -1", "[limits], min-sqnr", "-1 is not a positive number"),
            ("[limits]\nmax-error = 0", "[limits], max-error", "0 is not a positive number"),
            ("[limits]\nmax-error = true", "[limits]", "'max-error' must be a number (got true)"),
            ("[limits]\nmin-agreement = 99", "[limits], min-agreement", "99 is not a fraction"),
            ("[limits]\nmin-agreement = '101%'", "[limits], min-agreement", "is not a fraction"),
            ("[limits]\nmin-speedup = 0", "[limits], min-speedup", "0 is not a positive number"),
            ("[limits]\nmax-slowdown = -0.1", "[limits], max-slowdown", "is not a fraction"),
            ("[limits]\nmax-slowdown = 'a bit'", "[limits], max-slowdown", "not a number"),
            ("[[targets]]\nmin-sqnr = -1", "[[targets]] 1, min-sqnr", "not a positive number"),
            ("[limits]\ntime-budget = 'soon'", "[limits], time-budget", "'soon' is not a time"),
            ("[limits]\nsearch-inputs = -1", "[limits]", "'search-inputs' must be at least 0"),
            ("[limits]\nmax-worst-error = 5", "[limits], max-worst-error", "as large as"),
            ("[limits]\nsearch-inputs = 9999999", "[limits], search-inputs", "cannot be tried"),
            ("[limits]\nmax-worst-error = 0", "[limits], max-worst-error", "not a positive"),
            ("[limits]\nsearch-radius = 2", "[limits], search-radius", "2 is not a part"),
            ("[limits]\nsearch-inputs=0\nmax-worst-error=0.1", "[limits], search-inputs", "0 inp"),
            ("[limits]\ntime-budget = inf", "[limits]", "must be a finite number"),
            ("[limits]\nlimit = 'min-sqr=5'", "[limits], min-sqr=5", "unknown limit 'min-sqr'"),
            ("[limits]\nany-of = 'min-sqnr=5'", "[limits]", "'any-of' must be a list"),
            ("[limits]\nany-of = []", "[limits]", "'any-of' must have at least 1 value"),
            ("[[models]]", "[[models]] 1", "'original' is missing"),
            ("[[steps]]", "step 1", "has no key 'transform'"),
            ("[[steps]]\namount = 1", "step 1", "(its keys: 'amount')"),
            ("[[steps]]\ntransform = 1", "step 1", "'transform' must be text (got 1)"),
            ("[[steps]]\ntransform = 'fp16'\n[[steps]]\ntransform = 'pf16'", "step 2", "'pf16'"),
            ("[[steps]]\ntransform = 'fp16'\nscpoe = 1", "step 1", "unknown option 'scpoe'"),
            ("[[steps]]\ntransform = 'prune-weights'\namount = 1.5", "step 1, amount=1.5", "at mo"),
            ("[[steps]]\ntransform = 'fp16'\na-b = 1\na_b = 1", "step 1", "'a-b' is given twice"),
            ("a = [", "", "is not valid TOML"),
            ("a = " + "[" * 100_000, "", "is nested too deep"),
            ("seed = " + "9" * 5000, "", "is not valid TOML"),
            ("\x00", "", "is not valid TOML"),
        ],
    )  # fmt: skip
    def test_an_error_names_file_table_key_and_value(
        self, text: str, where: str, what: str
    ) -> None:
        error = error_of(text)
        assert error.where == ", ".join(["edge.toml", where] if where else ["edge.toml"])
        assert what in error.what

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("[[targets]]\nengine = 'clasic'", "classic"),
            ("[[targets]]\ndevice = 'opncl'", "opencl"),
            ("[limits]\nclaim = 'exactt'", "exact"),
            ("[limits]\nchecks = ['equivalenc']", "equivalence"),
            ("[limits]\nbaseline = 'bset'", "best"),
            ("[limits]\nlimit = 'min-sqr=5'", "min-sqnr"),
            ("[data.preprocessing]\nlayout = 'NHCW'", "NHWC"),
            ("[[steps]]\ntransform = 'prune-wieghts'", "prune-weights"),
            ("[[steps]]\ntransform = 'prune-weights'\namuont = 1", "amount"),
            ("[[steps]]\ntransform = 'prune-weights'\nscope = 'globl'", "global"),
        ],
    )
    def test_the_nearest_right_word_is_named(self, text: str, word: str) -> None:
        assert f"Did you mean '{word}'?" in (error_of(text).remedy or "")

    @pytest.mark.parametrize("path", ["[limits]", "[[targets]]"])
    def test_the_forms_of_the_equivalence_limit_exclude_each_other(self, path: str) -> None:
        forms = ["limit = 'min-sqnr=5'", "any-of = ['min-sqnr=5']", "min-sqnr = 5"]
        for form in forms:
            parse_recipe(f"{path}\n{form}", file=FILE)
            for other in forms:
                if other != form:
                    assert "exclude each other" in error_of(f"{path}\n{form}\n{other}").what

    @pytest.mark.parametrize(
        "text", ["0", "-1s", "", "s", "1e400s", "nan", "1 day", "1.2.3s", "∞", "x" * 10**6]
    )
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a time") as caught:
            parse_duration(text, key="--time-budget")
        assert caught.value.where == "--time-budget"
        assert len(str(caught.value)) < 300


class TestFiles:
    def error(self, path: Path) -> UsageError:
        with pytest.raises(UsageError) as caught:
            load_recipe(path)
        assert str(path.name) in str(caught.value)
        return caught.value

    def test_no_file(self, tmp_path: Path) -> None:
        assert "does not exist" in self.error(tmp_path / "none.toml").what

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "is not a file" in self.error(tmp_path).what

    def test_a_pipe_is_refused_without_waiting_for_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.toml")
        assert "is not a file" in self.error(tmp_path / "pipe.toml").what

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"seed = 1 # \xe9", b"\x89PNG\r\n\x1a\n"])
    def test_bytes_that_are_not_utf_8(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "r.toml").write_bytes(content)
        assert "UTF-8" in self.error(tmp_path / "r.toml").what

    def test_a_file_too_large_to_be_a_recipe(self, tmp_path: Path) -> None:
        (tmp_path / "r.toml").write_bytes(b"#" * ((1 << 20) + 1))
        assert "too large" in self.error(tmp_path / "r.toml").what

    def test_a_name_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            load_recipe(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ('[limits]\nmax-error = "auto"', "max-error=auto"),
        ('[limits]\nmax-error = "auto"\nmin-sqnr = 60', "min-sqnr=60,max-error=auto"),
        ('[limits]\nlimit = "max-error=auto,min-sqnr=60"', "max-error=auto,min-sqnr=60"),
        ('[[targets]]\nmax-error = "auto"', "max-error=auto"),
        ('[[targets]]\nmax-error = "0.01"', "max-error=0.01"),
    ],
)
def test_a_max_error_may_be_the_noise_floor(text: str, limit: str) -> None:
    (target,) = parse_recipe(text, file=Path("a.toml")).targets
    assert target.limits.equivalence == parse_limit(limit)


def test_a_max_error_that_is_no_number_and_not_auto_is_refused() -> None:
    with pytest.raises(UsageError, match="'atuo' is not a number") as refused:
        parse_recipe('[limits]\nmax-error = "atuo"', file=Path("a.toml"))
    assert "auto" in str(refused.value.remedy)
