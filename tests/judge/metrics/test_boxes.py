"""Boxes are decoded in every form, and matched one to one by score, class and overlap."""

import numpy as np
import pytest
from metric_cases import scored

from modelcheck.errors import UsageError
from modelcheck.judge.metrics import MetricSpec
from modelcheck.judge.metrics.boxes import Boxes, Found, matches

CORNERS = np.array([[0, 0, 10, 10], [20, 20, 40, 30], [50, 0, 60, 40]], np.float32)
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.05]], np.float32)
PAIR = ("boxes", "scores")


def boxes(**options):
    named = options if "output" in options else {"boxes": "boxes", "scores": "scores", **options}
    return MetricSpec("boxes", 0.9, options=tuple(named.items()))


def score(expected, actual, **options):
    return scored(boxes(**options), [expected], [actual], outputs=PAIR).values.tolist()


def pair(corners=CORNERS, scores=SCORES):
    return corners[None], scores[None]


def in_format(corners, form):
    size = corners[:, 2:] - corners[:, :2]
    at = {"xyxy": corners[:, :2], "xywh": corners[:, :2], "cxcywh": corners[:, :2] + size / 2}
    return np.concatenate([at[form], corners[:, 2:] if form == "xyxy" else size], axis=1)


def test_the_same_boxes_score_1_and_shifted_ones_0():
    assert score(pair(), pair()) == [1.0]
    assert score(pair(), pair(CORNERS + 100)) == [0.0]


def test_a_lost_box_a_new_box_and_another_class_cost_what_f1_says():
    lost = SCORES.copy()
    lost[0] = 0.1
    assert score(pair(), pair(scores=lost)) == [pytest.approx(2 * 2 / 5)]
    assert score(pair(scores=lost), pair()) == [pytest.approx(2 * 2 / 5)]
    assert score(pair(), pair(scores=SCORES[:, ::-1])) == [0.0]


def test_boxes_that_overlap_by_less_than_iou_do_not_match():
    moved = CORNERS.copy()
    moved[0] += [0, 5, 0, 5]  # overlap 1/3
    assert score(pair(), pair(moved)) == [pytest.approx(2 / 3)]
    assert score(pair(), pair(moved), iou=0.3) == [1.0]


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh"])
def test_every_format_gives_the_same_corners(form):
    metric = Boxes(boxes="b", scores="s", format=form)
    found = metric.decode((in_format(CORNERS, form)[None], SCORES[None]))
    assert np.allclose(found.corners, CORNERS[[0, 1, 2]])
    assert found.classes.tolist() == [0, 1, 0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("objectness", [False, True])
def test_one_tensor_holds_boxes_and_scores_in_rows_or_in_columns(turned, objectness):
    columns = [in_format(CORNERS, "cxcywh"), SCORES]
    if objectness:
        columns.insert(1, np.ones((3, 1)))
    # More boxes than columns, as detectors have.
    rows = np.concatenate(
        [np.concatenate(columns, axis=1), np.zeros((20, columns[0].shape[1] + 2 + objectness))]
    )
    tensor = (rows.T if turned else rows)[None].astype(np.float32)
    found = Boxes(output="y", format="cxcywh", objectness=objectness).decode((tensor,))
    assert np.allclose(found.corners, CORNERS)
    assert np.allclose(found.scores, [0.9, 0.8, 0.7])


def test_objectness_multiplies_the_scores():
    row = np.array([[5, 5, 10, 10, 0.5, 0.9, 0.0]] + [[0] * 7] * 9, np.float32)[None]
    assert len(Boxes(output="y", format="cxcywh", objectness=True).decode((row,))) == 0
    metric = Boxes(output="y", format="cxcywh", objectness=True, min_score=0.4)
    assert metric.decode((row,)).scores == pytest.approx([0.45])


def test_the_background_class_is_no_object():
    found = Boxes(boxes="b", scores="s", background=0).decode(pair())
    assert found.classes.tolist() == [1]


def test_suppression_keeps_the_best_of_overlapping_boxes_of_a_class():
    near = np.concatenate([CORNERS, CORNERS + 0.5])
    scores = np.concatenate([SCORES, SCORES - 0.05])
    plain = Boxes(boxes="b", scores="s").decode(pair(near, scores))
    kept = Boxes(boxes="b", scores="s", nms=0.5).decode(pair(near, scores))
    assert (len(plain), len(kept)) == (6, 3)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_each_box_of_the_reference_is_matched_once():
    wanted = Found(CORNERS[:1], np.array([0.9]), np.array([0]))
    given = Found(np.repeat(CORNERS[:1], 3, axis=0), np.ones(3), np.zeros(3, int))
    assert matches(wanted, given, 0.5) == 1


def test_an_image_without_boxes_says_nothing_unless_one_side_finds_some():
    empty = pair(scores=np.zeros_like(SCORES))
    spec = boxes()
    found = scored(spec, [empty, empty, pair()], [empty, pair(), empty], outputs=PAIR)
    assert (found.values.tolist(), found.silent) == ([0.0, 0.0], 1)


def test_a_head_that_is_not_decoded_or_another_format_is_refused():
    with pytest.raises(UsageError, match="end before they begin"):
        score(pair(CORNERS[:, [2, 3, 0, 1]]), pair())


@pytest.mark.parametrize(
    "outputs",
    [
        (CORNERS[None, :, :3], SCORES[None]),
        (CORNERS[None], SCORES[None, :2]),
        (CORNERS, SCORES),
        (CORNERS[None], SCORES[None, :, None]),
    ],
)
def test_outputs_of_other_shapes_do_not_fit(outputs):
    with pytest.raises(UsageError, match="does not fit"):
        score(outputs, outputs)


@pytest.mark.parametrize(
    "options",
    [{}, {"boxes": "b"}, {"boxes": "b", "scores": "s", "output": "y"},
     {"boxes": "b", "scores": "s", "objectness": True}],
)  # fmt: skip
def test_outputs_are_one_tensor_or_two(options):
    with pytest.raises(UsageError):
        Boxes(**options)
