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
_INPUT, _OUTPUT = "/run/lisa-vm/renew", "/run/lisa-vm/renewed"

PREPARE_TEMPLATE = f"""\
set -e
echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify
ipv6=/proc/sys/net/ipv6/conf/eth0/disable_ipv6
[ ! -e $ipv6 ] || echo 1 >$ipv6
systemctl stop ssh
rm -f {HOST_KEY} {HOST_KEY}.pub /run/sshd.pid
mkfifo -m 600 {HOST_KEY}
systemctl start --no-block ssh
mkdir -p -m 700 /run/lisa-vm
mkfifo -m 600 {_INPUT} {_OUTPUT}
{_RENEW} 0<>{_INPUT} 1<>{_OUTPUT} 2>/dev/console &
"""
"""Script for a guest that becomes a template: sshd and another program wait for the identity of the
clone. QEMU's network knows the template's address until the clone announces its own."""

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

    def script(self) -> str:
        """Return a script that gives a running guest this identity and the present time."""
        # Without KVM the first run of each program costs up to 0.3 s, most of it to translate its
        # code. So the program that a template has started does all that a shell cannot do. The
        # kernel makes the link's IPv6 address of the MAC address when IPv6 is switched on.
        # Each character takes the serial port's driver 50 microseconds.
        ipv6 = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"
        words = (
            *(self.name, self.machine_id, f"{time.time():.3f}", secrets.token_hex(32)),
            *(self.mac.replace(":", ""), self.host_key.public, self.host_key.private_body),
        )
        return f"""\
set -e
read -r uptime _ </proc/uptime
identity="{" ".join(words)} $uptime"
if [ -p {_INPUT} ]; then
	echo $identity >{_INPUT}
	read -r _ <{_OUTPUT}
else
	echo $identity | {_RENEW} >/dev/null
fi
[ ! -e {ipv6} ] || echo 0 >{ipv6}
{self._nics_script()}"""

    def _nics_script(self) -> str:
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
