"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelcheck.testing.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """One child for onnx's checker and onnxruntime, for the whole session."""
    with Runner() as started:
        yield started
