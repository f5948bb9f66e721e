"""`-t` texts: what a user types becomes a transform, or an error that names text and remedy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toml_text import options

from modelcheck.errors import UsageError
from modelcheck.recipe import build_step, parse_step
from modelcheck.recipe.steps import parse_options
from modelcheck.transforms import Claim

# Any code point but surrogates; tomllib takes \r\n for \n only inside multi-line strings.
texts = st.text(max_size=20)
scalars = st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | texts
tables = st.dictionaries(texts, scalars | st.lists(scalars, max_size=4), max_size=4)
# What the names of nodes and tensors are made of, exporters' slashes, colons and stars included.
bare_words = st.text("abcXYZ_019./:*-+?|\\$@!&()~;<>^`%ü", min_size=1, max_size=12)


class TestOptions:
    @given(tables)
    def test_whatever_toml_can_say_arrives_as_it_was(self, table: dict) -> None:
        assert parse_options(options(table)) == table

    @given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), bare_words, min_size=1))
    def test_bare_words_are_text_unless_they_are_numbers_or_truths(self, table: dict) -> None:
        read = parse_options(",".join(f"{key}={word}" for key, word in table.items()))
        assert read.keys() == table.keys()
        for key, word in table.items():
            value = read[key]
            assert value == word or value in (True, False) or float(word) == value

    @given(st.lists(bare_words.filter(lambda w: not w[0].isdigit() and w[0] not in "+-.")))
    def test_a_list_of_bare_words_is_a_list_of_texts(self, words: list[str]) -> None:
        expected = [{"true": True, "false": False}.get(w, w) for w in words]
        assert parse_options(f"exclude=[{', '.join(words)}],form=qdq") == {
            "exclude": expected,
            "form": "qdq",
        }

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", {}),
            ("  ", {}),
            ("a=x", {"a": "x"}),
            (" a = x , b = y ", {"a": "x", "b": "y"}),
            ("pattern=2:4", {"pattern": "2:4"}),
            ("exclude=features.*", {"exclude": "features.*"}),
            ("exclude=/model/conv.0/Conv", {"exclude": "/model/conv.0/Conv"}),
            ('exclude=["a:0","b"],form=qdq', {"exclude": ["a:0", "b"], "form": "qdq"}),
            ("exclude=[\"x,y\", 'z=[1]:{}', w]", {"exclude": ["x,y", "z=[1]:{}", "w"]}),
            ("exclude='it said \"no\"'", {"exclude": 'it said "no"'}),
            ('exclude="it\'s"', {"exclude": "it's"}),
            ("a=true,b=false,c=truth", {"a": True, "b": False, "c": "truth"}),
            ("a=1,b=-2,c=+3,d=1_000", {"a": 1, "b": -2, "c": 3, "d": 1000}),
            ("a=0.5,b=1e-3,c=.5,d=2.,e=-.25", {"a": 0.5, "b": 1e-3, "c": 0.5, "d": 2, "e": -0.25}),
            ("a=inf,b=-inf", {"a": math.inf, "b": -math.inf}),
            ("a=007,b=1979-05-27,c=v1.2.3", {"a": "007", "b": "1979-05-27", "c": "v1.2.3"}),
            ("a=[[x,y],[1]]", {"a": [["x", "y"], [1]]}),
            ("block-size=4", {"block-size": 4}),
        ],
    )
    def test_examples(self, text: str, expected: dict) -> None:
        assert parse_options(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "0.5",
            "amount",
            "amount=",
            "=1",
            "a=1,",
            "a=1,a=2",
            "a=b c",
            "a=[",
            "a=]",
            'a="',
            "a=it's",
            'a=x"y"',
            "a=1}\ny={b=2",
            "a=1\nb=2",
            "a={",
            "a=#",
            "a=" + "[" * 100_000,
            "a=" + "9" * 5000,
            "\x00",
        ],
    )
    def test_what_cannot_be_read_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(UsageError, match="options cannot be read") as caught:
            parse_options(text)
        assert "prune-weights:amount=0.5" in (caught.value.remedy or "")
        assert "line 1" not in caught.value.what  # of a text that the user never wrote

    @given(st.text("aAbB=,[]{}\"'\\ :#.5-\n", max_size=40))
    def test_any_text_is_options_or_a_usage_error(self, text: str) -> None:
        try:
            read = parse_options(text)
        except UsageError:
            return
        assert isinstance(read, dict)


class TestSteps:
    def test_only_the_first_colon_separates(self) -> None:
        transform = parse_step("sparsify:pattern=2:4")
        assert (transform.name, transform.options["pattern"]) == ("sparsify", "2:4")

    def test_options_given_and_defaults_stand_in_the_transform(self) -> None:
        transform = parse_step("prune-weights:amount=0.25,scope=global")
        assert transform.options["amount"] == 0.25
        assert transform.options["scope"] == "global"
        assert transform.options["threshold"] is None
        assert transform.claim is Claim.LOSSY

    @pytest.mark.parametrize("text", ["fp16", "fp16:", " fp16 ", "fp16: "])
    def test_a_name_alone_has_the_defaults(self, text: str) -> None:
        assert parse_step(text).options == build_step("fp16", {}).options

    def test_identity_is_a_step(self) -> None:
        assert parse_step("identity").claim is Claim.EXACT

    @pytest.mark.parametrize("key", ["per-channel", "per_channel"])
    def test_both_spellings_of_a_key_reach_the_transform(self, key: str) -> None:
        assert build_step("quantize-weights", {key: False}).options["per_channel"] is False
        assert parse_step(f"quantize-weights:{key}=false").options["per_channel"] is False

    def test_both_spellings_at_once_are_refused(self) -> None:
        with pytest.raises(UsageError, match="'max-error' is given twice"):
            build_step("fp16", {"max-error": 1, "max_error": 2})

    @pytest.mark.parametrize(
        ("text", "where", "said"),
        [
            ("prune-wieghts", "-t 'prune-wieghts'", "Did you mean 'prune-weights'?"),
            ("prune_weights", "-t 'prune_weights'", "Did you mean 'prune-weights'?"),
            ("", "-t ''", "`modelcheck transforms` lists them"),
            (":amount=1", "-t ':amount=1'", "`modelcheck transforms` lists them"),
            ("prune-weights:amuont=1", "-t 'prune-weights:amuont=1'", "Did you mean 'amount'?"),
            ("prune-weights:amount=1.5", "amount=1.5", "at most 1"),
            ("prune-weights:amount=-1", "amount=-1", "at least 0"),
            ("prune-weights:amount=nan", "amount=nan", "finite"),
            ("prune-weights:amount=half", "amount=half", "must be a number"),
            ("prune-weights:scope=globl", "scope=globl", "Did you mean 'global'?"),
            ("prune-weights:0.5", "-t 'prune-weights:0.5'", "Write name=value pairs"),
            ("identity:amount=1", "-t 'identity:amount=1'", "unknown transform 'identity'"),
        ],
    )
    def test_an_error_names_the_text_the_key_and_the_nearest_right_word(
        self, text: str, where: str, said: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            parse_step(text)
        assert caught.value.exit_code == 2
        assert str(caught.value).startswith(f"-t '{text}'")
        assert where in str(caught.value)
        assert said in str(caught.value)

    @pytest.mark.parametrize("text", ["fp16:scope={}=", "fp16:scope={}", "fp16:{}=1", "{}"])
    def test_a_text_of_a_megabyte_makes_no_message_of_a_megabyte(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_step(text.format("x" * (1 << 20)))
        assert len(str(caught.value)) < 1000
