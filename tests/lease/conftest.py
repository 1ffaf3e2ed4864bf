"""Runners that are processes of their own, and what is left on a node of those that were killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runners import Runners


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runners]:
    """Starts runners; those that are still there end with the tests of a file."""
    with Runners(tmp_path_factory.mktemp("runners")) as started:
        yield started
