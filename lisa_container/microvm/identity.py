"""What makes a VM different from all others: name, ids, keys, addresses and the time."""

from __future__ import annotations

import secrets
import shlex
import time
from dataclasses import dataclass, field

from lisa_container.microvm.keys import KeyPair

# Locally administered, as QEMU's own.
_MAC_PREFIX = "52:54:00"
# Reseed the kernel's random numbers, which a clone would share with the others (random(4),
# RNDRESEEDCRNG). Perl is in every Debian.
_RESEED = "open(my $f, '>', '/dev/urandom'); syswrite($f, shift); ioctl($f, 0x5207, 0)"


def _make_mac() -> str:
    return ":".join([_MAC_PREFIX, *(f"{byte:02x}" for byte in secrets.token_bytes(3))])


@dataclass(frozen=True)
class Identity:
    """Identity of a VM, which stays over resets.

    Attributes:
        name: host name.
        host_key: key pair of its sshd.
        machine_id: content of /etc/machine-id.
        mac: MAC address of its network interface.
    """

    name: str
    host_key: KeyPair = field(default_factory=KeyPair.make)
    machine_id: str = field(default_factory=lambda: secrets.token_hex(16))
    mac: str = field(default_factory=_make_mac)

    def script(self) -> str:
        """Return a script that gives a running guest this identity and the present time."""
        # Each program costs up to 0.2 s without KVM, so there are few, and they run at once. QEMU's
        # network knows the template's address until the guest announces its own.
        name = shlex.quote(self.name)
        return f"""\
set -e
date -s @{time.time():.2f} >/dev/null &
perl -e {shlex.quote(_RESEED)} {secrets.token_hex(32)} &
echo {name} >/proc/sys/kernel/hostname
echo {name} >/etc/hostname
printf '%s\\n' '127.0.0.1 localhost' '::1 localhost' '127.0.1.1 '{name} >/etc/hosts
echo {self.machine_id} >/etc/machine-id
echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify
umask 077
echo {shlex.quote(self.host_key.private.strip())} >/etc/ssh/ssh_host_ed25519_key
umask 022
echo {shlex.quote(self.host_key.public)} >/etc/ssh/ssh_host_ed25519_key.pub
ip -batch - <<END
link set eth0 down
link set eth0 address {self.mac}
link set eth0 up
route replace default via 10.0.2.2
END
"""
