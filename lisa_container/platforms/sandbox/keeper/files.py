"""Files of a node on top of the shared root file system.

They are written to the overlay's upper folder before it is mounted, so a node boots with its own
name and keys without running a command.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .spec import Spec

# The first value wins in sshd_config, so these lines go before those of the root file system.
_SSHD_CONFIG = """\
# From the sandbox. Without this, every login waits for a DNS timeout.
UseDNS no
# The only kind of host key; the node makes it during boot.
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication yes

"""
# Keeps /etc/init.d/docker from mounting cgroup hierarchies that the machine does not have.
_FSTAB = "cgroup /sys/fs/cgroup tmpfs noauto 0 0\n"
# Every init script reads this file first. Docker's init script fails if it may not raise limits (on
# a machine without CAP_SYS_RESOURCE), and if it finds no pid file on `restart`. The code is not in
# /etc/default/docker, where it would disturb the installation of Docker on a node without it.
_INIT_HOOK = """\
# From the sandbox: ignore limits that cannot be raised, and let `restart` start a stopped daemon.
ulimit() { command ulimit "$@" 2>/dev/null || :; }
if [ "$1" = restart ] && [ "${DOCKER_SSD_PIDFILE:-}" ] && [ ! -e "$DOCKER_SSD_PIDFILE" ]; then
	touch "$DOCKER_SSD_PIDFILE"
fi
"""
_INIT_HOOK_FILE = "usr/lib/lsb/init-functions.d/99-sandbox"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CA_FOLDER = "usr/local/share/ca-certificates"
_RESOLVER_FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_LOOPBACK = ("127.", "::1", "localhost")


@dataclass(frozen=True)
class Identity:
    """Values that differ between nodes.

    Attributes:
        name: host name.
        address: IPv4 address.
        mtu: MTU of the interface, in bytes.
        authorized_key: public key that root and both users accept.
        neighbours: addresses of all nodes by name, including this node.
    """

    name: str
    address: str
    mtu: int
    authorized_key: str
    neighbours: dict[str, str]


class Upper:
    """Upper folder of an overlay. Its files hide those of the lower folder.

    Args:
        folder: the upper folder.
        lower: the shared root file system.
    """

    def __init__(self, folder: Path, lower: Path) -> None:
        """Change no file yet."""
        self._folder = folder
        self._lower = lower

    def read(self, path: str) -> str:
        """Return the text of a file in the lower folder, or an empty string."""
        with suppress(OSError):
            return (self._lower / path).read_text(encoding="utf-8", errors="replace")
        return ""

    def has(self, path: str) -> bool:
        """Return whether the lower folder has this file or folder."""
        return os.path.lexists(self._lower / path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file. Create its folders with the owner and mode of the lower ones."""
        file = self._place(path)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def copy(self, path: str, source: Path) -> None:
        """Copy a file of the machine into the upper folder."""
        shutil.copyfile(source, self._place(path))

    def _place(self, path: str) -> Path:
        folder, lower = self._folder, self._lower
        for part in Path(path).parent.parts:
            folder, lower = folder / part, lower / part
            if not folder.exists():
                folder.mkdir(mode=0o755)
                # The overlay shows the upper folder's owner and mode, so copy them from the lower.
                with suppress(FileNotFoundError):
                    status = lower.stat()
                    os.chown(folder, status.st_uid, status.st_gid)
                    folder.chmod(status.st_mode & 0o7777)
        return self._folder / path


def populate(upper: Upper, spec: Spec, identity: Identity) -> None:
    """Write all files of a node."""
    upper.write("etc/hostname", f"{identity.name}\n")
    upper.write("etc/hosts", _hosts(identity))
    upper.write("etc/resolv.conf", _resolver())
    upper.write("etc/machine-id", f"{secrets.token_hex(16)}\n", 0o444)
    upper.write("etc/ssh/sshd_config", _SSHD_CONFIG + upper.read("etc/ssh/sshd_config"))
    upper.write("etc/sudoers.d/sandbox", _sudoers(spec), 0o440)
    upper.write("root/.ssh/authorized_keys", f"{identity.authorized_key}\n", 0o600)
    upper.write("etc/docker/daemon.json", _engine_config(upper, identity))
    upper.write("etc/fstab", upper.read("etc/fstab") + _FSTAB)
    if upper.has("usr/lib/lsb"):
        upper.write(_INIT_HOOK_FILE, _INIT_HOOK)
    _copy_certificates(upper)
    proxies = _proxies()
    if proxies:
        lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in proxies.items())
        upper.write("etc/environment", upper.read("etc/environment") + lines)


def init_settings(spec: Spec, identity: Identity) -> str:
    """Return the settings for init.sh as shell assignments."""
    values = {
        "USER_NAME": spec.user,
        "PASSWORD_USER_NAME": spec.password_user,
        "PASSWORD": spec.password,
        "AUTHORIZED_KEY": identity.authorized_key,
        "START_DOCKER": "yes" if spec.docker else "",
        "DOCKER_GROUP": "yes" if spec.docker_group else "",
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _hosts(identity: Identity) -> str:
    # Without the node's own name, each sudo on the node waits 20 s for DNS.
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for name, address in identity.neighbours.items()]
    return "\n".join(lines) + "\n"


def _resolver() -> str:
    """Return the machine's resolv.conf without DNS servers on loopback addresses."""
    text = ""
    for file in _RESOLVER_FILES:
        with suppress(OSError):
            lines = Path(file).read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not _is_loopback_server(line)]
            text = "".join(f"{line}\n" for line in kept if not line.startswith("#"))
            if "nameserver" in text:
                break
    return text


def _is_loopback_server(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0] == "nameserver" and words[1].startswith(_LOOPBACK)


def _sudoers(spec: Spec) -> str:
    return f"{spec.user} ALL=(ALL) NOPASSWD: ALL\n{spec.password_user} ALL=(ALL) ALL\n"


def _engine_config(upper: Upper, identity: Identity) -> str:
    # In the config file and not on dockerd's command line, so that it applies to every start.
    text = upper.read("etc/docker/daemon.json")
    config = {"mtu": identity.mtu, **(json.loads(text) if text.strip() else {})}
    return json.dumps(config, indent=2) + "\n"


def _copy_certificates(upper: Upper) -> None:
    """Copy the machine's CA certificates, which may include one of a proxy."""
    bundle = Path("/") / _CA_BUNDLE
    if bundle.is_file() and upper.has(_CA_BUNDLE):
        upper.copy(_CA_BUNDLE, bundle)
        for authority in (Path("/") / _CA_FOLDER).glob("*.crt"):
            upper.copy(f"{_CA_FOLDER}/{authority.name}", authority)


def _proxies() -> dict[str, str]:
    """Return the runner's proxy settings, except proxies on loopback addresses."""
    proxies = {}
    for name in _PROXIES:
        value = os.environ.get(name) or os.environ.get(name.upper(), "")
        host = value.rpartition("@")[2].rpartition("//")[2]
        if value and (name == "no_proxy" or not host.startswith(_LOOPBACK)):
            proxies[name] = value
    return proxies
