"""IP addresses, numbered. Loopback, "any" and a prefix length (`/24`) are kept.

>>> normalise("inet 172.17.0.2/16 brd 172.17.255.255 via fe80::42:acff:fe11:2, lo 127.0.0.1, ::1")
'inet <ip 1>/16 brd <ip 2> via <ip 3>, lo 127.0.0.1, ::1'

A version of four numbers with dots is taken for an address.
"""

from __future__ import annotations

import ipaddress

from lisa_container.snapshots.normalise.placeholders import TOKEN
from lisa_container.snapshots.normalise.rule import PatternRule


class _IpRule(PatternRule):
    def identity(self, value: str) -> str | None:
        """Return the canonical address, or None for an address that is kept."""
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        # `a::b` is a valid address, but more likely a name in C++.
        is_kept = address.is_loopback or address.is_unspecified or not any(map(str.isdigit, value))
        return None if is_kept else str(address)


IP = _IpRule(
    "ip",
    rf"(?<![\w.:{TOKEN}])(?:\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?!\.?[\w{TOKEN}]|[-+~][\w{TOKEN}])"
    rf"|(?=[0-9A-Fa-f]{{0,4}}:)[0-9A-Fa-f:]{{3,39}}(?<!\w:)(?![\w:{TOKEN}])"
    rf"|(?=[0-9A-Fa-f]{{0,4}}:)[0-9A-Fa-f:]{{3,38}}(?=:(?![\w:{TOKEN}])))",
    numbered=True,
)
