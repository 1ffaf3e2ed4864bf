"""The ways to a node's engine."""

from __future__ import annotations

import pytest
from lisa.node import Node

from lisa_container.engine.client import Engine

WAYS = {"root": "streamlocal", "tester": "relay", "asker": "relay"}


def test_way_of_each_user(each_user: Node) -> None:
    """root opens the socket itself, a sudo user a relay, with and without a password."""
    engine = Engine(each_user)
    assert engine.kind == "docker"
    assert engine.dialer.name == WAYS[each_user.connection_info["username"]]
    assert engine.ping()
    engine.close()


def test_connection_closed_by_lisa(each_user: Node) -> None:
    """LISA closes the node's connection after each case; the next call connects again."""
    engine = Engine(each_user)
    assert engine.ping()
    each_user.close()
    assert engine.ping()
    engine.close()
