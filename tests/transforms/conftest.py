from collections.abc import Iterator

import pytest
from small_graphs import Runner, running


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """One child process for all tests of transforms."""
    with running() as runner:
        yield runner
