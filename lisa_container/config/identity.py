"""Rules for the user, host name and network of a container."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lisa_container.config.checks import illegal, strings, text

_NAME = r"[a-zA-Z_][a-zA-Z0-9_.-]*\$?"
_ID = r"[0-9]{1,10}"
_USER = re.compile(rf"({_NAME}|{_ID})(?::({_NAME}|{_ID}))?")
# opencontainers/runc, libcontainer/user: "uids and gids must be in range 0-2147483647".
_LARGEST_ID = 2**31 - 1
_LEGAL_USER = f"name|uid[:group|gid], each id from 0 to {_LARGEST_ID}"

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# sethostname(2): HOST_NAME_MAX is 64 on Linux.
_LONGEST_HOSTNAME = 64
_LEGAL_HOSTNAME = (
    "labels of at most 63 letters, digits and inner '-' with '.' between (RFC 1123), "
    f"together at most {_LONGEST_HOSTNAME} characters"
)

# moby, daemon/names: legal names of containers and networks.
_ENGINE_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
CONTAINER_PREFIX = "container:"
# In these the engine resolves no names.
_NAMELESS = ("bridge", "default", "host", "none")
_NETWORK = re.compile(rf"(?:{CONTAINER_PREFIX})?{_ENGINE_NAME}")
_LEGAL_NETWORK = "'bridge', 'host', 'none', 'container:<name or id>' or the name of a network"


def user(field: str, value: Any) -> str:
    """Check a user; "" is the image's. YAML reads a bare uid as a number, which counts."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value == "":
        return ""
    match = _USER.fullmatch(value) if isinstance(value, str) else None
    ids = [int(part) for part in match.groups() if part and part.isdigit()] if match else []
    if not match or any(number > _LARGEST_ID for number in ids):
        raise illegal(field, value, _LEGAL_USER)
    return match[0]


def hostname(field: str, value: Any) -> str:
    """Check a host name; "" is the engine's choice, the container's short id."""
    given = text(field, value, _LEGAL_HOSTNAME)
    if given and (len(given) > _LONGEST_HOSTNAME or not _HOSTNAME.fullmatch(given)):
        raise illegal(field, given, _LEGAL_HOSTNAME)
    return given


def network_mode(field: str, value: Any) -> str:
    """Check a network mode; "" is the engine's default."""
    given = text(field, value, _LEGAL_NETWORK)
    # The daemon reads "container" alone as "container:" without a name.
    if given and (not _NETWORK.fullmatch(given) or given == CONTAINER_PREFIX[:-1]):
        raise illegal(field, given, _LEGAL_NETWORK)
    return given


def network_aliases(field: str, value: Any) -> tuple[str, ...]:
    """Check the further names of a container in a network."""
    names = strings(field, value, "names")
    for name in names:
        hostname(field, name)
    return names


def check_together(hostname: str, network_mode: str, network_aliases: Sequence[str]) -> None:
    """Refuse a host name beside another container's network, as moby does.

    Refuse names in a network where the engine resolves none.
    """
    if network_aliases and (network_mode in _NAMELESS or network_mode.startswith(CONTAINER_PREFIX)):
        raise illegal(
            "network_aliases",
            list(network_aliases),
            f"names only where network_mode is the name of a network; it is {network_mode!r}",
        )
    if hostname and network_mode.startswith(CONTAINER_PREFIX):
        raise illegal(
            "hostname",
            hostname,
            f"none with network_mode {network_mode!r}, which gives that container's name",
        )
