"""Placements: on which node the next member of a fleet starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Callable

from lisa.node import Node

from lisa_container.engine.client import Engine
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import ConfigError, EngineError
from lisa_container.naming import node_name

# Prints the load of the last minute (proc(5), /proc/loadavg), and the number of processors.
_LOAD = "read -r load _ </proc/loadavg; echo $load $(grep -c ^processor /proc/cpuinfo)"


@dataclass
class NodeState:
    """Node on which a member may start.

    Attributes:
        node: The node.
        members: Number of the fleet's members on it.
    """

    node: Node
    members: int

    @cached_property
    def load(self) -> float:
        """Load average of the last minute for each processor.

        Raises:
            EngineError: The node does not tell.
        """
        text = shell_of(self._engine).run(_LOAD)
        try:
            load, processors = text.split()
            return float(load) / max(1, int(processors))
        except ValueError as error:
            name = node_name(self.node)
            raise EngineError(f"node '{name}' does not tell its load: {text!r}") from error

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Labels of the node's engine, as `dockerd --label name=value` gives them."""
        with self._engine.errors():
            labels = self._engine.api.info().get("Labels") or []
        pairs = (label.partition("=") for label in labels)
        return {name: value for name, _, value in pairs}

    @property
    def _engine(self) -> Engine:
        return ensure_engine(self.node)


Placement = Callable[[Sequence[NodeState]], Node]
"""Function that chooses the node of the next member. The states are in the order of the nodes."""


def round_robin(states: Sequence[NodeState]) -> Node:
    """Return the node with the fewest members; of several, the first."""
    return min(states, key=lambda state: state.members).node


def least_loaded(states: Sequence[NodeState]) -> Node:
    """Return the node with the lowest load for each processor.

    A member that has just started is not in the load of the last minute yet, so each counts as a
    tenth of a busy processor.
    """
    return min(states, key=lambda state: state.load + state.members / 10).node


def by_label(label: str, placement: Placement = round_robin) -> Placement:
    """Return a placement on the nodes whose engine has a label.

    Args:
        label: `name`, or `name=value`, as in `dockerd --label`.
        placement: Placement among these nodes.
    """
    name, is_exact, value = label.partition("=")

    def place(states: Sequence[NodeState]) -> Node:
        fitting = [
            state
            for state in states
            if name in state.labels and (not is_exact or state.labels[name] == value)
        ]
        if not fitting:
            names = ", ".join(f"'{node_name(state.node)}'" for state in states)
            raise ConfigError(
                f"placement: no engine of the nodes {names} has the label '{label}'; legal: a "
                "label that one of them has, as by 'dockerd --label'"
            )
        return placement(fitting)

    return place
