"""Markers of the plugin: `container(…)`, `vmtest(…)`, and words to select tests by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

if TYPE_CHECKING:
    from lisa_container.config import ContainerTestConfig
    from lisa_container.microvm import VmConfig

Config = TypeVar("Config")

CONTAINER = "container"
VMTEST = "vmtest"

LINES = (
    f"{CONTAINER}(image, scope='function', **fields): container of the fixture `container`: any "
    "fields of ContainerTestConfig, and the scope 'function', 'class', 'module' or 'session'",
    f"{VMTEST}(scope='function', **fields): virtual machine of the fixture `vm`: any fields of "
    "VmConfig, and the scope 'function', 'class', 'module' or 'session'",
    "unit: tests that need no node",
    "integration: tests that need a node",
    "stress: tests under load",
    "slow: tests that take long",
)
"""Declarations of all markers."""

_FUNCTION, _CLASS, _MODULE, _SESSION = "function", "class", "module", "session"
_SCOPES = (_FUNCTION, _CLASS, _MODULE, _SESSION)


@dataclass(frozen=True)
class Wanted(Generic[Config]):
    """Container or virtual machine that a test wants from its fixture.

    Attributes:
        config: Its config.
        owner: Test, class, module or session with which it ends.
        is_own: Whether it ends with the test.
    """

    config: Config
    owner: pytest.Item | pytest.Collector
    is_own: bool


def read_marker(item: pytest.Item) -> Wanted[ContainerTestConfig]:
    """Return the container that a test wants.

    Markers of a test, its classes and its module are merged: the one closest to the test counts.

    Args:
        item: The test.

    Raises:
        UsageError: A marker has an unknown field or a wrong value, or no image is given.
    """
    from lisa_container.config import ContainerTestConfig, Scope
    from lisa_container.errors import ConfigError

    config, scope = ContainerTestConfig(), _FUNCTION
    try:
        for marker in reversed(list(item.iter_markers(CONTAINER))):
            fields = _fields_of(marker)
            scope = fields.pop("scope", scope)
            _check_scope(scope)
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


def read_vm_marker(item: pytest.Item) -> Wanted[VmConfig]:
    """Return the virtual machine that a test wants.

    Markers of a test, its classes and its module are merged: the one closest to the test counts.

    Args:
        item: The test.

    Raises:
        UsageError: A marker has an unknown field or a wrong value.
    """
    from lisa_container.errors import ConfigError

    given: dict[str, Any] = {}
    try:
        for marker in reversed(list(item.iter_markers(VMTEST))):
            if marker.args:
                raise ConfigError(f"given {marker.args[0]!r} without the name of a field")
            given.update(marker.kwargs)
        scope = given.pop("scope", _FUNCTION)
        _check_scope(scope)
        config = vm_config(None, given)
    except ConfigError as error:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{VMTEST}: {error}") from error
    owner = _owner(item, scope)
    return Wanted(config, owner, owner is item)


def vm_config(config: VmConfig | None, given: Mapping[str, Any]) -> VmConfig:
    """Return a config of a virtual machine.

    Args:
        config: Config to start from; None means the defaults.
        given: Fields that replace those of `config`. `image` may be a mapping of the fields of an
            image's config.

    Raises:
        ConfigError: A field is unknown, or its value is wrong.
    """
    from lisa_container.config.checks import check_names
    from lisa_container.microvm import VmConfig, image_config

    values = {each.name: getattr(config, each.name) for each in fields(config)} if config else {}
    values.update(given)
    check_names(values, [each.name for each in fields(VmConfig)])
    image = values.get("image")
    if isinstance(image, Mapping):
        values["image"] = image_config(image)
    return VmConfig(**values)


def _check_scope(scope: object) -> None:
    from lisa_container.config.checks import unknown

    if scope not in _SCOPES:
        raise unknown("scope", scope, _SCOPES)


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
