"""Addresses of nodes."""

from __future__ import annotations

import pytest

from lisa_container.addresses import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("root@10.0.0.4", Address("root", "10.0.0.4", 22)),
        ("root@host.example.com:2222", Address("root", "host.example.com", 2222)),
        ("me@domain@host", Address("me@domain", "host", 22)),
        ("me@[fe80::1]", Address("me", "fe80::1", 22)),
        ("me@[::1]:65535", Address("me", "::1", 65535)),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "@host", "me@", "me@:22", "me@host:", "me@host:ssh", "me@host:0"),
        *("me@host:65536", "me@host:²", "me@::1", "me@[::1", "me@host/path", "me:secret@host"),
        *("me@ho st", "me@host:22:23"),
    ],
)
def test_no_address(text: str) -> None:
    assert parse_address(text) is None
