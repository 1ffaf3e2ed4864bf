"""Identity of a VM: name, ids, keys, addresses and the time, which no other VM shares."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from lisa_container.microvm.keys import KeyPair

# Read by the guest's network.sh.
_NICS = "/usr/lib/lisa-vm/nics"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
"""Private key of the guest's sshd. In a template it is a named pipe."""

_RENEW = f"perl /usr/lib/lisa-vm/renew {HOST_KEY}"
_IPV6 = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"

PREPARE_TEMPLATE = f"""\
set -e
echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify
[ ! -e {_IPV6} ] || echo 1 >{_IPV6}
systemctl stop ssh
rm -f {HOST_KEY} {HOST_KEY}.pub /run/sshd.pid
mkfifo -m 600 {HOST_KEY}
systemctl start --no-block ssh
"""
"""Script for a guest that becomes a template: sshd waits for the key of the clone. QEMU's network
knows the template's address until the clone announces its own."""

AWAIT_IDENTITY = f"{_RENEW} </dev/ttyS1 >/dev/ttyS1"
"""Last script of a template: a program waits for the identity of the clone, on the port on which
scripts come, and says that it is ready."""

# Locally administered, as QEMU's own.
_MAC_PREFIX = "52:54:00"


def make_mac() -> str:
    """Return a random MAC address."""
    return ":".join([_MAC_PREFIX, *(f"{byte:02x}" for byte in secrets.token_bytes(3))])


@dataclass(frozen=True)
class Identity:
    """Identity of a VM, which stays over resets.

    Attributes:
        name: host name.
        host_key: key pair of its sshd.
        machine_id: content of /etc/machine-id.
        mac: MAC address of the network interface that leads to this machine.
        nics: MAC address and IPv4 address with prefix length of each further interface; an
            empty IPv4 address means none.
    """

    name: str
    host_key: KeyPair = field(default_factory=KeyPair.make)
    machine_id: str = field(default_factory=lambda: secrets.token_hex(16))
    mac: str = field(default_factory=make_mac)
    nics: tuple[tuple[str, str], ...] = ()

    def line(self) -> str:
        """Return the input of a waiting template that gives a clone this identity and the time."""
        # Each character takes the serial port's driver 50 microseconds.
        words = (
            *(self.name, self.machine_id, f"{time.time():.3f}", secrets.token_hex(32)),
            *(self.mac.replace(":", ""), self.host_key.public, self.host_key.private_body),
        )
        return " ".join(words)

    def script(self) -> str:
        """Return a script that gives a booted guest this identity and the present time."""
        return f"""\
set -e
read -r uptime _ </proc/uptime
{_RENEW} <<END >/dev/null
{self.line()} $uptime
END
{self.nics_script()}"""

    def nics_script(self) -> str:
        """Return the part of the script for further network interfaces, also of later boots."""
        links = [
            line
            for number, (mac, _) in enumerate(self.nics, start=1)
            for line in (f"link set eth{number} address {mac}", f"link set eth{number} up")
        ]
        addresses = [
            f"addr add {address} dev eth{number}"
            for number, (_, address) in enumerate(self.nics, start=1)
            if address
        ]
        now = "".join(f"busybox ip {line}\n" for line in (*links, *addresses))
        later = "".join(f"echo {line} >>{_NICS}\n" for line in (*links, *addresses))
        return f"{now}: >{_NICS}\n{later}" if self.nics else ""
