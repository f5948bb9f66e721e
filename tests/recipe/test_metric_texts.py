"""Metrics in a file and on the command line: what is wrong is named, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.errors import UsageError
from modelcheck.judge import parse_limit
from modelcheck.recipe import parse_metric, parse_recipe

FILE = Path("/where/edge.toml")


def error_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text, file=FILE)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_command_line_and_the_file_say_the_same() -> None:
    text = 'boxes:boxes="b",scores=s,min-score=.4,nms=0.3,min=95%,name=faces'
    table = 'kind="boxes"\nboxes="b"\nscores="s"\nmin-score=0.4\nnms=0.3\nmin=0.95\nname="faces"'
    recipe = parse_recipe(f"[[metrics]]\n{table}\n", file=FILE)
    assert recipe.targets[0].limits.metrics == (parse_metric(text),)


def test_a_target_may_have_a_milder_metric_of_its_own() -> None:
    recipe = parse_recipe(
        "[[metrics]]\nkind='top5'\nmin=0.99\n[[targets]]\n[[targets]]\n"
        "[[targets.metrics]]\nkind='top5'\nmin=0.9\n[[targets.metrics]]\nkind='kl'\nmax=0.1",
        file=FILE,
    )
    shared, own = (t.limits.metrics for t in recipe.targets)
    assert [(m.kind, m.limit) for m in shared] == [("top5", 0.99)]
    assert [(m.kind, m.limit) for m in own] == [("top5", 0.9), ("kl", 0.1)]


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("min=0.9", ["[[metrics]] 1", "has no kind", "top1"]),
        ("kind='tpo5'\nmin=0.9", ["unknown metric", "Did you mean 'top5'?"]),
        ("kind='function'\nmin=0.9", ["unknown metric"]),
        ("kind='top5'", ["top5 has no limit", "Give min"]),
        ("kind='top5'\nmax=0.9", ["the higher the better", "Write min = 0.9"]),
        ("kind='top5'\nmin=0.9\nmax=0.8", ["max = 0.8 contradicts it", "Leave max out"]),
        ("kind='kl'\nmin=0.9", ["the lower the better", "Write max = 0.9"]),
        ("kind='top5'\nmin=95", ["min", "95"]),
        ("kind='top5'\nmin=1", ["no number of samples proves"]),
        ("kind='top5'\nmin=nan", ["min"]),
        ("kind='top5'\nmin='much'", ["'much' is not a number"]),
        ("kind='top5'\nmin=true", ["True is not a number"]),
        ("kind='psnr'\nmin='30 dB'", ["is not a number"]),
        ("kind='psnr'\nmin=30\nshare=2", ["share"]),
        ("kind='top5'\nmin=0.9\nname=3", ["name", "must be text"]),
        ("kind='top5'\nmin=0.9\noutptu='y'", ["unknown option 'outptu' of 'top5'", "'output'"]),
        ("kind='boxes'\nmin=0.9", ["boxes and scores, or output"]),
        ("kind='boxes'\noutput='y'\nformat='xyyx'\nmin=0.9", ["one of xyxy, xywh, cxcywh"]),
        ("kind='boxes'\noutput='y'\niou=1.5\nmin=0.9", ["iou=1.5", "at most 1"]),
        ("kind='boxes'\noutput='y'\niou=0\nmin=0.9", ["iou=0", "at least 0.1"]),
        ("kind='ctc'\nmax=0.1\nblank=0.5", ["blank=0.5", "whole number"]),
        ("kind='top5'\nmin=0.9\n[[metrics]]\nkind='top5'\nmin=0.8", ["given twice", "0.9", "0.8"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_remedy(table: str, parts: list[str]) -> None:
    message = error_of(f"[[metrics]]\n{table}\n")
    assert message.startswith("edge.toml")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", ["boxes:", "top5:min", "top5:min=0.9,[", "top5:kind=top1,min=0.9"])
def test_a_text_that_cannot_be_read_is_quoted(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_metric(text)
    assert f"--metric '{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "what"),
    [("min-agreement=0.99|min-agreement=1", "can never hold"),
     ("min-sqnr=25|min-agreement=1,max-error=0.1", "can never hold"),
     ("min-sqnr=25|min-sqnr=40", "two alternatives")],
)  # fmt: skip
def test_an_alternative_that_never_decides_is_refused(limit: str, what: str) -> None:
    assert what in error_of(f"[limits]\nlimit = '{limit}'")
    with pytest.raises(UsageError, match=what):
        parse_limit(limit)
