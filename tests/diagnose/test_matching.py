"""Which tensor is which, in two forms of one model."""

from __future__ import annotations

import numpy as np
import pytest
from diagnose_nets import applied, branches, sigmoid_between

from modelcheck.diagnose.matching import match
from modelcheck.diagnose.net import Net
from modelcheck.model import Model
from modelcheck.testing.equivalents import EQUIVALENTS
from modelcheck.transforms.fold_batchnorm import fold_batchnorm


def renamed(model: Model) -> Model:
    rewrite = next(e.rewrite for e in EQUIVALENTS if e.name == "nodes renamed")
    found = rewrite(model, np.random.default_rng(0))
    assert found is not None
    return found


def by_place(net: Net, name: str) -> int:
    producer = net.values[name].producer()
    return -1 if producer is None else net.order[producer]


def test_a_model_matches_itself_by_name() -> None:
    net = Net(branches())
    found = match(net, net)
    assert found.by_name
    assert all(pair.original == pair.candidate for pair in found.pairs)
    assert len(found.pairs) == len(list(net.cuttable()))
    assert not found.original_only + found.candidate_only


def test_names_that_all_changed_are_matched_by_structure() -> None:
    original, candidate = Net(branches()), Net(renamed(branches()))
    found = match(original, candidate)
    assert not found.by_name
    everything = {str(value.name) for value in original.cuttable()}
    inside_a_layer = {"stem:y"}  # what a BatchNormalization may be folded into
    assert {pair.original for pair in found.pairs} == everything - inside_a_layer
    for pair in found.pairs:
        assert by_place(original, pair.original) == by_place(candidate, pair.candidate)


@pytest.mark.parametrize("rename", [False, True])
def test_a_folded_batchnorm_is_the_result_of_its_layer(rename: bool) -> None:
    folded = fold_batchnorm()(branches())
    candidate = Net(renamed(folded) if rename else folded)
    found = match(Net(branches()), candidate)
    pairs = {pair.original: pair.candidate for pair in found.pairs}
    assert "stem:y" not in pairs, "before the BatchNormalization there is no such tensor any more"
    producer = candidate.values[pairs["stem.bn:y"]].producer()
    assert producer is not None
    assert producer.op_type == "Conv"


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_quantized_tensors_are_matched_with_what_they_round(form: str) -> None:
    ((_, candidate),) = applied(sigmoid_between(), f"quantize:form={form},spare=false")
    found = match(Net(sigmoid_between()), Net(candidate))
    # QDQ leaves the Relu to rounding: what stands before it is there, and it is not.
    first = "conv0:y" if form == "qdq" else "relu0:y"
    assert {first, "conv1:y", "sigmoid1:y"} <= {pair.original for pair in found.pairs}


def test_names_that_cross_are_dropped_not_believed() -> None:
    """Numbered names of another exporter: the same words for other tensors."""
    model = branches()
    edited = model.edit()
    first = next(n for n in edited.graph if n.name == "left.relu").outputs[0]
    second = next(n for n in edited.graph if n.name == "stem.relu").outputs[0]
    first.name, second.name = "other", "left.relu:y"
    first.name = "stem.relu:y"
    found = match(Net(model), Net(Model.freeze(edited)))
    pairs = {pair.original: pair.candidate for pair in found.pairs}
    assert not {"stem.relu:y", "left.relu:y"} <= pairs.keys()
