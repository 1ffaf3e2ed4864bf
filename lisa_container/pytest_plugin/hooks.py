"""Hooks around tests, in a pytest process with tests that use the plugin."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from lisa_container.pytest_plugin.markers import read_marker, read_vm_marker
from lisa_container.pytest_plugin.names import (
    NODE,
    RUN,
    VM_FACTORIES,
    VM_FACTORY,
    WANTED,
    WANTED_VM,
    uses,
)
from lisa_container.pytest_plugin.nodes import require_qemu
from lisa_container.pytest_plugin.options import Options
from lisa_container.pytest_plugin.quiet import import_lisa

if TYPE_CHECKING:
    from lisa_container.pytest_plugin.run import Run

OPTIONS = pytest.StashKey[Options]()
"""Key of the plugin's options."""


class TestHooks:
    """Hooks around tests. Use `hooks_of`.

    Args:
        options: Options of the plugin.
    """

    def __init__(self, options: Options) -> None:
        """Begin without a run; the first test that uses the plugin starts it."""
        self.run: Run | None = None
        """Run of LISA in this process, while there is one."""
        self.item: pytest.Item | None = None
        """Test that runs now."""
        self.next_item: pytest.Item | None = None
        """Test that this process runs next, as far as it is known."""
        self._options = options

    @pytest.hookimpl(tryfirst=True)  # type: ignore[untyped-decorator]
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Check the markers of the tests that are about to run, and the login on the node.

        Returns:
            True if a process of pytest-xdist is to end without running tests; else None.

        Raises:
            UsageError: A marker is wrong, or the node cannot be used.
        """
        option = session.config.option
        if option.collectonly or (session.testsfailed and not option.continue_on_collection_errors):
            return None
        import_lisa()
        try:
            self._check(session.items)
        except pytest.UsageError as error:
            if not hasattr(session.config, "workerinput"):
                raise
            # For pytest-xdist any exception here is an internal error. This message it passes on.
            session.shouldstop = str(error)
            return True
        return None

    @pytest.hookimpl(tryfirst=True)  # type: ignore[untyped-decorator]
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Begin the case of a test."""
        self.item, self.next_item = item, nextitem
        if self.run is not None and uses(item, RUN):
            self.run.begin(item)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)  # type: ignore[untyped-decorator]
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
        """Add to the report of a failed test what happened in its containers; end its case."""
        outcome = yield
        if self.run is not None:
            error = call.excinfo.value if call.excinfo is not None else None
            self.run.follow(outcome.get_result(), error)

    def pytest_keyboard_interrupt(self) -> None:
        """Note Ctrl-C."""
        if self.run is not None:
            self.run.interrupt()

    def _check(self, items: list[pytest.Item]) -> None:
        if not any(uses(item, RUN) for item in items):
            return
        for item in items:
            if uses(item, WANTED):
                read_marker(item)
            if uses(item, WANTED_VM):
                read_vm_marker(item)
        self._options.prepare_log()
        makers = (WANTED_VM, VM_FACTORY, *VM_FACTORIES)
        if any(uses(item, name) for item in items for name in makers):
            require_qemu()
        if any(uses(item, NODE) for item in items):
            self._options.require_source().check()


_HOOKS = pytest.StashKey[TestHooks]()


def hooks_of(config: pytest.Config) -> TestHooks:
    """Return the hooks of a pytest process, which are registered at the first call.

    Args:
        config: Config of the process.
    """
    if _HOOKS not in config.stash:
        config.stash[_HOOKS] = hooks = TestHooks(config.stash[OPTIONS])
        config.pluginmanager.register(hooks)
    return config.stash[_HOOKS]
