"""Containers to install in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.install import Tool
from tests.support.shop import PYTHON

Make = Callable[..., ContainerExecutor]


@pytest.fixture
def make(node: Node, debian_image: str) -> Iterator[Make]:
    """Return a function that starts Debian containers, which are removed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*tools: Tool, **config: Any) -> ContainerExecutor:
            executor = ContainerExecutor(node, ContainerTestConfig(image=debian_image, **config))
            if tools:
                executor.install(*tools, cached=True)
            return stack.enter_context(executor)

        yield start


@pytest.fixture
def container(make: Make) -> ContainerExecutor:
    """Return a container of an unchanged Debian."""
    return make()


@pytest.fixture
def python(make: Make) -> ContainerExecutor:
    """Return a container of Debian with Python."""
    return make(PYTHON)
