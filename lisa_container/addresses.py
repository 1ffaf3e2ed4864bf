"""Addresses of nodes: what a user types, and logins there. LISA is not imported for this."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lisa_container.parsing import parse_int

PASSWORD_VARIABLE = "LISA_CONTAINER_PASSWORD"
"""Environment variable that may hold the password of the node's user."""

ADDRESS_FORM = "user@host[:port]"
"""Form of an address, for messages."""

_SSH_PORT = 22
_PORTS = range(1, 1 << 16)
# A user of a domain may have an @, and an IPv6 address is in brackets.
_ADDRESS = re.compile(
    r"(?P<user>[^\s:/]+)@(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s@:/\[\]]+))(?::(?P<port>.*))?"
)


@dataclass(frozen=True)
class Address:
    """User, host and port of a login over SSH."""

    user: str
    host: str
    port: int = _SSH_PORT


def parse_address(text: str) -> Address | None:
    """Return the address in a text, or None if it has none.

    Args:
        text: `user@host`, `user@host:port` or `user@[IPv6 address]:port`.

    >>> parse_address("me@[::1]:2222"), parse_address("host:22")
    (Address(user='me', host='::1', port=2222), None)
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    port = _SSH_PORT if match["port"] is None else parse_int(match["port"])
    if port is None or port not in _PORTS:
        return None
    return Address(match["user"], match["ipv6"] or match["host"], port)


def throw_away_ssh(address: Address, key: Path) -> list[str]:
    """Return an SSH command line for a throw-away node. You may append a remote command.

    The node's host key is not checked, because later nodes reuse the address with another one.

    Args:
        address: User, host and port of the login.
        key: Private key of the user.
    """
    options = {
        "IdentityFile": str(key),
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    words = [word for item in options.items() for word in ("-o", "=".join(item))]
    return ["ssh", *words, "-p", str(address.port), f"{address.user}@{address.host}"]
