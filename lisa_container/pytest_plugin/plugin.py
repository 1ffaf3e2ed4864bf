"""Hooks that pytest finds by the entry point `lisa_container`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lisa_container.pytest_plugin import kept, markers, options
from lisa_container.pytest_plugin.hooks import OPTIONS, hooks_of
from lisa_container.pytest_plugin.names import RUN, uses

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter  # pytest 7 has no public name for it

pytest_plugins = ("lisa_container.pytest_plugin.fixtures",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and check the options."""
    for line in markers.LINES:
        config.addinivalue_line("markers", line)
    config.stash[OPTIONS] = options.read_options(config)


@pytest.hookimpl(trylast=True)  # type: ignore[untyped-decorator]
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Follow the tests from now on, if one of those that are to run uses the plugin."""
    if any(uses(item, RUN) for item in items):
        hooks_of(config)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """List the kept containers and frozen virtual machines."""
    kept.show(terminalreporter)
