"""The switch between virtual machines, with this process in the place of QEMU."""

from __future__ import annotations

import socket

import pytest

from lisa_container.errors import ConfigError
from lisa_container.microvm import Nic, PrivateNetwork
from tests.support.waiting import eventually

A, B, ALL = b"\x52\0\0\0\0\x0a", b"\x52\0\0\0\0\x0b", b"\xff" * 6


def frame(to: bytes, sender: bytes, content: bytes) -> bytes:
    return to + sender + content


def plugged(network: PrivateNetwork, count: int) -> tuple[list[socket.socket], list[object]]:
    cables = [network.plug() for _ in range(count)]
    ends = [cable.far.dup() for cable in cables]
    for end in ends:
        end.settimeout(5)
    return ends, cables


def test_frames_reach_those_for_whom_they_are() -> None:
    network = PrivateNetwork()
    (one, two, three), _ = plugged(network, 3)
    one.send(frame(ALL, A, b"who is B?"))
    assert [each.recv(100)[12:] for each in (two, three)] == [b"who is B?"] * 2
    two.send(frame(A, B, b"I am"))
    assert one.recv(100)[12:] == b"I am"
    one.send(frame(B, A, b"hello"))
    one.send(frame(ALL, A, b"end"))
    assert [two.recv(100)[12:] for _ in range(2)] == [b"hello", b"end"]
    # Neither the frames between the others, nor its own.
    assert three.recv(100)[12:] == b"end"
    two.send(frame(ALL, B, b"end"))
    assert one.recv(100)[12:] == b"end"


def test_networks_are_apart() -> None:
    (one, other), _ = plugged(PrivateNetwork(), 2)
    (stranger,), _ = plugged(PrivateNetwork(), 1)
    one.send(frame(ALL, A, b"x"))
    assert other.recv(100)
    stranger.settimeout(0.2)
    with pytest.raises(socket.timeout):
        stranger.recv(100)


def test_machines_come_and_go() -> None:
    network = PrivateNetwork()
    for _ in range(2):
        (one, two), cables = plugged(network, 2)
        one.send(frame(ALL, A, b"x"))
        assert two.recv(100)
        two.close()
        one.send(frame(ALL, A, b"lost"))
        for cable in cables:
            cable.unplug()  # type: ignore[attr-defined]
            cable.unplug()  # type: ignore[attr-defined]
        # The thread ends with the last one.
        eventually(lambda: network._selector is None)


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1/40", "host/24", "::1/64"])
def test_illegal_address(address: str) -> None:
    with pytest.raises(ConfigError, match="IPv4 address with a prefix length"):
        Nic(PrivateNetwork(), address)
