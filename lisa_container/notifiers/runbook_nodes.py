"""Nodes that the runbook of this process's run names, known before LISA connects to them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from lisa import schema
from lisa.development import load_development_settings
from lisa.node import Node
from lisa.parameter_parser.argparser import support_runbook, support_variable
from lisa.parameter_parser.runbook import RunbookBuilder
from lisa.util import constants
from lisa.variable import load_variables, replace_variables

from lisa_container.engine.reach import node_of

_READY, _DEV = "ready", "dev"


def find_runbook_nodes() -> list[Node]:
    """Return the remote nodes of the runbook; none where their addresses are not known yet.

    LISA gives a notifier no runbook, so it is read again with the command line of this process.
    Transformers and combinators may change addresses. Jump boxes of the development settings are
    on the way to the nodes.
    """
    parser = argparse.ArgumentParser(add_help=False)
    support_runbook(parser, required=False)
    support_variable(parser)
    words, _ = parser.parse_known_args(sys.argv[1:])
    if words.runbook != getattr(constants, "RUNBOOK_FILE", None):
        return []  # LISA is used as a library
    given = words.variables or []
    data = RunbookBuilder(words.runbook, given)._load_data(words.runbook.absolute(), given)
    if any(data.get(name) for name in ("transformer", "combinator")):
        return []
    variables = load_variables(runbook_data=data, higher_level_variables=given)
    parts = {name: data.get(name) for name in (constants.PLATFORM, constants.ENVIRONMENT, _DEV)}
    parts = replace_variables(parts, variables)
    if parts[_DEV]:  # LISA loads them later
        load_development_settings(schema.Development.schema().load(parts[_DEV]))  # type: ignore[attr-defined]
    platforms = schema.load_by_type_many(schema.Platform, parts[constants.PLATFORM] or [])
    if not platforms or platforms[0].type != _READY:
        return []
    return [node_of(entry, platforms[0]) for entry in _entries(parts[constants.ENVIRONMENT])]


def _entries(environment: Any) -> list[schema.Node]:
    environments = environment.get("environments") if isinstance(environment, Mapping) else None
    nodes = [node for each in environments or [] for node in each.get("nodes") or []]
    remote = [node for node in nodes if node.get("type") == constants.ENVIRONMENTS_NODES_REMOTE]
    return [schema.load_by_type(schema.Node, node) for node in remote]
