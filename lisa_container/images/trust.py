"""Trust of a node's engine in a registry's own CA during the run.

Docker reads the certificates of a registry from a folder before each pull and push
(https://docs.docker.com/engine/security/certificates/), and so does Podman (containers-certs.d(5)).
The run leaves the files in it alone and adds one of its own, which is under its lease.
"""

from __future__ import annotations

import ipaddress
import shlex
import threading
from dataclasses import dataclass, field

from lisa_container.config import ImageReference
from lisa_container.config.current import current_settings
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import EngineError, SshLostError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

_FOLDERS = {"docker": "/etc/docker/certs.d", "podman": "/etc/containers/certs.d"}

# Prints `there` if a file that stays, or this run's own file, has the certificates. Otherwise, as
# root, prints `missing` and then each folder to put under the lease: folders that must be made, and
# folders that another run made, because that run may end first.
_CHECK = """
wanted=$(cat)
for file in {certs}/*/lisa_container-*.crt; do # of a lease that is gone, by a reboot for example
    lease=${{file##*/lisa_container-}} lease=${{lease%.crt}}
    [ "$(find /run /tmp -maxdepth 1 -name "lisa_container.$lease*" -type d -user 0)" ] ||
        {{ rm -f "$file" && rmdir "${{file%/*}}"; }}
done 2>/dev/null
for file in {folder}/*.crt; do
    case $file in */lisa_container-*) [ "$file" = {file} ] || continue ;; esac
    [ -f "$file" ] && [ "$(cat "$file")" = "$wanted" ] && echo there && exit
done
[ "$(id -u)" = 0 ] || exit
echo missing
goes() {{ # FOLDER WORDS: the folder is missing, or holds only names that `grep WORDS` matches
    folder=$1
    shift
    [ ! -d "$folder" ] || {{ [ "$(ls -A "$folder")" ] && ! ls -A "$folder" | grep -qv "$@"; }}
}}
goes {folder} '^lisa_container-' && echo {folder} &&
    goes {certs} -xF {registry} && echo {certs} &&
    [ ! -d {engine} ] && echo {engine}
:
"""
_PUT = "umask 022; mkdir -p {folder} && cat >{file} && echo there"


@dataclass
class _TrustLock:
    """Lock of one engine, held while its node is checked and changed.

    Without it, pulls that begin at the same time would put the file there twice.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)


def is_insecure(engine: Engine, registry: str) -> bool:
    """Tell whether the engine must be asked to accept a registry without TLS.

    Podman must be asked for registries on the node's own loopback; Docker accepts them by itself
    (https://docs.docker.com/reference/cli/dockerd/#insecure-registries).

    Args:
        engine: engine of the node.
        registry: `host[:port]`.
    """
    host, colon, _ = registry.rpartition(":")
    host = (host if colon else registry).strip("[]")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    return is_loopback and engine.kind == "podman"


def trust_registry(engine: Engine, reference: ImageReference) -> None:
    """Have the engine trust the CA that the run's settings name for an image's registry.

    A failure is only logged: the engine may know the CA in another way, or else refuses the
    registry with an error of its own.

    Raises:
        SshLostError: the node cannot be reached.
    """
    given = {x.host: x.certificates for x in current_settings().registries if x.certificates}
    for name in reference.prefixes:
        if name in given:
            with engine.state(_TrustLock).lock:
                _trust(engine, reference.full.registry, given[name].strip().encode() + b"\n")
            return


def _trust(engine: Engine, registry: str, certificates: bytes) -> None:
    lease = Lease.of(engine)
    certs = _FOLDERS[engine.kind]
    folder = f"{certs}/{registry}"
    try:
        labels = lease.labels()  # the lease may be a new one since the last pull
        file = f"{folder}/lisa_container-{lease.id}.crt"
        names = {"folder": folder, "file": file, "registry": registry, "certs": certs}
        names["engine"] = certs.rpartition("/")[0]
        words = {key: shlex.quote(name) for key, name in names.items()}
        shell = shell_of(engine)
        answer = shell.run(_CHECK.format(**words), certificates).split("\n")
        if answer[0] == "missing" and LEASE_LABEL in labels:
            for path in [file, *(f"{made}/" for made in answer[1:] if made)]:
                lease.file(path)
            answer = shell.run(_PUT.format(**words), certificates).split("\n")
            engine.node.log.info(
                Plain(f"the CA of registry '{registry}' is in '{file}' of the node")
            )
        if answer[0] != "there":
            engine.note_once(
                f"the CA of registry '{registry}' cannot be put into '{folder}' of node "
                f"'{engine.name}' while this run lasts: that needs root and a lease"
            )
    except SshLostError:
        raise
    except EngineError as error:
        engine.node.log.warning(
            Plain(f"the CA of registry '{registry}' is not on the node: {printable(error)}")
        )
