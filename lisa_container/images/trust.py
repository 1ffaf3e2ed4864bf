"""Having the engine of a node trust a registry's own CA, for the time of the run.

Docker reads the certificates of a registry from a folder before each pull and push
(https://docs.docker.com/engine/security/certificates/), podman too (containers-certs.d(5)). What is
there stays as it is: the run adds a file of its own, which is under its lease.
"""

from __future__ import annotations

import ipaddress
import shlex
import threading
import weakref

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import EngineError, SshLostError
from lisa_container.images.names import prefixes, registry_of
from lisa_container.settings import current_settings

_FOLDERS = {"docker": "/etc/docker/certs.d", "podman": "/etc/containers/certs.d"}

# Prints `there` where the certificates are known already, by a file of somebody else that stays or
# by our own; else, if they can be put there, each folder that goes with them: those that must be
# made, and those that another run has made, which may end before.
_LOOK = """
wanted=$(cat)
for file in {certs}/*/lisa_container-*.crt; do # of a run whose lease was lost, as in a reboot
    lease=${{file##*/lisa_container-}} lease=${{lease%.crt}}
    [ -d "/run/lisa_container.$lease" ] || [ -d "/tmp/lisa_container.$lease" ] ||
        {{ rm -f "$file" && rmdir "${{file%/*}}"; }}
done 2>/dev/null
for file in {folder}/*.crt; do
    case $file in */lisa_container-*) [ "$file" = {file} ] || continue ;; esac
    [ -f "$file" ] && [ "$(cat "$file")" = "$wanted" ] && echo there && exit
done
[ "$(id -u)" = 0 ] || exit
echo missing
goes() {{ # FOLDER WORDS: it is not there, or has nothing but what `grep WORDS` finds
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

# Held while a node is looked at and changed: pulls that begin at once would do it twice.
_locks: weakref.WeakKeyDictionary[Engine, threading.Lock] = weakref.WeakKeyDictionary()
_locks_lock = threading.Lock()


def is_insecure(engine: Engine, registry: str) -> bool:
    """Whether podman is to take a registry also without TLS: one on the node's own loopback, as
    Docker does by itself (https://docs.docker.com/reference/cli/dockerd/#insecure-registries).

    Args:
        engine: of the node.
        registry: `host[:port]`.
    """
    host, colon, _ = registry.rpartition(":")
    host = (host if colon else registry).strip("[]")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    return is_loopback and engine.kind == "podman"


def trust_registry(engine: Engine, reference: str) -> None:
    """Have the engine trust the CA that the settings of the run name for an image's registry.

    That it cannot be is logged: the engine may know the CA in another way, or tells that it does
    not.

    Args:
        engine: of the node.
        reference: the image.

    Raises:
        SshLostError: the node cannot be reached.
    """
    given = {x.host: x.certificates for x in current_settings().registries if x.certificates}
    for name in prefixes(reference):
        if name in given:
            with _locks_lock:
                lock = _locks.setdefault(engine, threading.Lock())
            with lock:
                _trust(engine, registry_of(reference), given[name].strip().encode() + b"\n")
            return


def _trust(engine: Engine, registry: str, certificates: bytes) -> None:
    lease = Lease.of(engine)
    certs = _FOLDERS[engine.kind]
    folder = f"{certs}/{registry}"
    try:
        labels = lease.labels()  # it may be another lease than at the last pull
        file = f"{folder}/lisa_container-{lease.id}.crt"
        names = {"folder": folder, "file": file, "registry": registry, "certs": certs}
        names["engine"] = certs.rpartition("/")[0]
        words = {key: shlex.quote(name) for key, name in names.items()}
        shell = shell_of(engine)
        said = shell.run(_LOOK.format(**words), certificates).split("\n")
        if said[0] == "missing" and LEASE_LABEL in labels:
            for path in [file, *(f"{made}/" for made in said[1:] if made)]:
                lease.file(path)
            said = shell.run(_PUT.format(**words), certificates).split("\n")
            engine.node.log.info(f"the CA of registry '{registry}' is in '{file}' of the node")
        if said[0] != "there":
            engine.note_once(
                f"the CA of registry '{registry}' cannot be put into '{folder}' of node "
                f"'{engine.name}' for the time of this run: that takes root, and a lease"
            )
    except SshLostError:
        raise
    except EngineError as error:
        engine.node.log.warning(f"the CA of registry '{registry}' is not on the node: {error}")
