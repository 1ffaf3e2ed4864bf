"""Mistakes in cases, reported when LISA has selected the cases and before it creates a node."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, Callable

from lisa import TestSuite, schema
from lisa.messages import MessageBase, TestResultMessage, TestStatus
from lisa.node import Node
from lisa.testsuite import get_suites_metadata
from lisa.util import constants

from lisa_container.config import checks
from lisa_container.errors import ConfigError
from lisa_container.masking import Plain
from lisa_container.node import ContainerNode
from lisa_container.notifiers.listener import Listener

_GUEST = "container"

LISA_PARAMETERS = (
    *("node", "environment", "log", "variables", "result"),
    *("case_name", "log_path", "working_path", "part_path"),
)
"""Parameters that LISA gives to a case that annotates them."""

FindMistake = Callable[["type[TestSuite]", str], "ConfigError | None"]

_find_mistake: list[FindMistake] = []


def find_parameter_mistake(
    case: Callable[..., Any], where: str, own: Collection[str], given: Collection[str] = ()
) -> ConfigError | None:
    """Return the error of a case with a parameter that nothing gives, or None.

    Args:
        case: The case's method.
        where: Name of the case, for the message.
        own: Names of parameters that we give, in addition to LISA's.
        given: Names that need no annotation; LISA gives parameters only where they have one.
    """
    legal = (*own, *LISA_PARAMETERS)
    function = inspect.unwrap(case)
    annotated = getattr(function, "__annotations__", {})
    for each in list(inspect.signature(function).parameters.values())[1:]:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) or each.default is not each.empty:
            continue
        if each.name not in legal:
            return checks.unknown(f"case '{where}', parameter", each.name, legal)
        if each.name not in annotated and each.name not in given:
            return ConfigError(
                f"case '{where}', parameter '{each.name}': it has no annotation, and LISA gives a "
                f"case only parameters with one. Write, for example, '{each.name}: "
                f"{_TYPES.get(each.name, 'Any')}'"
            )
    return None


_TYPES = {
    "container": "ContainerExecutor",
    "containers": "list[ContainerExecutor]",
    "host": "Node",
    "node": "Node",
    "environment": "Environment",
    "log": "Logger",
    "result": "TestResult",
    "variables": "dict[str, Any]",
    "case_name": "str",
}


def find_guest_mistake(where: str, node: Node) -> ConfigError | None:
    """Return the error of a case with containers of its own on a guest, or None.

    Args:
        where: Name of the suite or case, for the message.
        node: Node of the case.
    """
    return _guest_error(where) if isinstance(node, ContainerNode) else None


def watch_selection(find_mistake: FindMistake) -> type[Listener]:
    """Return a listener that logs the mistakes of the cases that LISA has selected.

    Args:
        find_mistake: Returns the mistake of a case; None for a sound case, or one without a
            container of its own.
    """
    _find_mistake.append(find_mistake)
    return _Selection


class _Selection(Listener):
    def _subscribed_message_type(self) -> list[type[MessageBase]]:
        return [TestResultMessage]

    def _handle_message(self, message: MessageBase) -> None:
        assert isinstance(message, TestResultMessage)
        if message.status != TestStatus.QUEUED:
            return
        suites = [x for x in get_suites_metadata().values() if x.name == message.suite_name]
        for metadata in suites:
            for find in _find_mistake:
                error = find(metadata.test_class, message.name)
                if error is not None and str(error) not in self._logged:
                    self._logged.add(str(error))
                    self._log.error(Plain(str(error)))


def runbook_guest_mistake(where: str) -> ConfigError | None:
    """Return the error of a case with containers of its own in a run with guests, or None.

    Args:
        where: Name of the suite or case, for the message.
    """
    runbook = constants.RUNBOOK
    data = runbook.get(constants.PLATFORM) if isinstance(runbook, Mapping) else None
    # Read as LISA does: `true` may be a text, such as the value of a variable.
    platforms = schema.load_by_type_many(schema.Platform, data or [])
    kinds = {guest.type for each in platforms if each.guest_enabled for guest in each.guests}
    return _guest_error(where) if _GUEST in kinds else None


def _guest_error(where: str) -> ConfigError:
    return ConfigError(
        f"'{where}' makes containers of its own, so it cannot run on guests of type '{_GUEST}': "
        "guests are for stock suites. Leave it out of this runbook's 'testcase', or run it without "
        "'guest_enabled: true'"
    )
