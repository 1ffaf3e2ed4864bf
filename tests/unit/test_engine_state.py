"""Test the state that modules keep about an engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lisa_container.engine.client import Engine


@dataclass
class _Kept:
    names: list[str] = field(default_factory=list)


@dataclass
class _Other:
    names: list[str] = field(default_factory=list)


def make_engine() -> Engine:
    """Return an engine without a node, which `state` does not need."""
    engine = Engine.__new__(Engine)
    engine._states, engine._states_lock = {}, threading.Lock()
    return engine


def test_state_is_one_object_for_each_class_and_engine() -> None:
    one, other = make_engine(), make_engine()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: one.state(_Kept), range(100)))
    assert all(each is found[0] for each in found)
    found[0].names.append("debian:12")
    assert one.state(_Kept).names == ["debian:12"]
    assert one.state(_Other).names == other.state(_Kept).names == []
