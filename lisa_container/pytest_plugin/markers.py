"""Markers of the plugin: `@pytest.mark.container(…)`, and words to select tests by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lisa_container.config import ContainerTestConfig

CONTAINER = "container"

LINES = (
    f"{CONTAINER}(image, scope='function', **fields): container of the fixture `container`: any "
    "fields of ContainerTestConfig, and the scope 'function', 'class', 'module' or 'session'",
    "unit: tests that need no node",
    "integration: tests that need a node",
    "stress: tests under load",
    "slow: tests that take long",
    "vmtest: tests that need a virtual machine",
)
"""Declarations of all markers."""

_FUNCTION, _CLASS, _MODULE, _SESSION = "function", "class", "module", "session"
_SCOPES = (_FUNCTION, _CLASS, _MODULE, _SESSION)


@dataclass(frozen=True)
class Wanted:
    """Container that a test wants from the fixture `container`."""

    config: ContainerTestConfig
    owner: pytest.Item | pytest.Collector
    """Test, class, module or session with which the container ends."""
    is_own: bool
    """Whether the container ends with the test."""


def read_marker(item: pytest.Item) -> Wanted:
    """Return the container that a test wants.

    Markers of a test, its classes and its module are merged: the one closest to the test counts.

    Args:
        item: The test.

    Raises:
        UsageError: A marker has an unknown field or a wrong value, or no image is given.
    """
    from lisa_container.config import ContainerTestConfig, Scope
    from lisa_container.config.checks import unknown
    from lisa_container.errors import ConfigError

    config, scope = ContainerTestConfig(), _FUNCTION
    try:
        for marker in reversed(list(item.iter_markers(CONTAINER))):
            fields = _fields_of(marker)
            scope = fields.pop("scope", scope)
            if scope not in _SCOPES:
                raise unknown("scope", scope, _SCOPES)
            config = config.merged(**fields)
        if not config.image and not config.build:
            raise ConfigError(
                "the test uses the fixture 'container' and names no image; mark it, its class or "
                f"its file with @pytest.mark.{CONTAINER}(image='debian:12')"
            )
        config.require_image()
    except ConfigError as error:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{CONTAINER}: {error}") from error
    owner = _owner(item, scope)
    config = config.merged(scope=Scope.CASE if owner is item else Scope.SUITE)
    return Wanted(config, owner, owner is item)


def _fields_of(marker: pytest.Mark) -> dict[str, Any]:
    """Return the fields in a marker, whose first argument may be the image."""
    from lisa_container.errors import ConfigError

    if len(marker.args) > 1:
        raise ConfigError(
            f"given {len(marker.args)} arguments without a name; legal: the image alone, such as "
            f"@pytest.mark.{CONTAINER}('debian:12', privileged=True)"
        )
    return {**dict(zip(("image",), marker.args)), **marker.kwargs}


def _owner(item: pytest.Item, scope: str) -> pytest.Item | pytest.Collector:
    """Return what a container of a scope ends with. A test without a class ends its own."""
    if scope == _SESSION:
        return item.session
    found: pytest.Collector | None = None
    if scope == _CLASS:
        found = item.getparent(pytest.Class)
    elif scope == _MODULE:
        found = item.getparent(pytest.Module)
    return item if found is None else found
