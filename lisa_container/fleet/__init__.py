"""Fleets: many containers on one or on many nodes, used as one. See docs/fleet.md."""

from lisa_container.fleet.fleet import Fleet
from lisa_container.fleet.placement import NodeState, Placement, by_label, least_loaded, round_robin
from lisa_container.fleet.results import Results
from lisa_container.fleet.spread import Answer, Choice, in_turn, least_busy

__all__ = [
    "Answer",
    "Choice",
    "Fleet",
    "NodeState",
    "Placement",
    "Results",
    "by_label",
    "in_turn",
    "least_busy",
    "least_loaded",
    "round_robin",
]
