"""`lisa_container/root`: the node's own root file system, without what is secret or its own.

Other than a mount of the node's root, a container of it can be changed at will: packages installed,
files removed, and the node does not notice.
"""

from __future__ import annotations

import json
import secrets
import shlex

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import EngineError, NoSpaceError
from lisa_container.images.local.adopt import adopt

# Seconds for making it: a large root on a slow disk.
_TIMEOUT = 3600

# Left out, though the folders themselves are there: what is made up at each start, what engines
# keep, and what is secret (keys, passwords, what clouds hand to a machine, people's own folders).
_CONTENTS = (
    *("proc", "sys", "dev", "run", "tmp", "var/tmp", "boot", "home", "root", "lost+found"),
    *("var/lib/docker", "var/lib/containerd", "var/lib/containers", "var/cache/apt/archives"),
    *("etc/ssl/private", "etc/docker", "etc/containers/certs.d"),
    *("var/lib/cloud", "var/lib/waagent", "var/log/journal"),
)
_FILES = (
    *("etc/shadow*", "etc/gshadow*", "etc/ssh/ssh_host_*", "etc/krb5.keytab"),
    *("swapfile", "swap.img", "var/tmp/lisa_container.*"),
)

# tar ends with 1 where a file changed while it was read, which on a living node is no error.
_SCRIPT = """
set -e
umask 077
trap 'rm -f {archive}' EXIT
code=0
tar -C / --one-file-system --xattrs {excluded} -cf {archive} . || code=$?
[ "$code" -le 1 ]
{engine} import {changes} - <{archive}
"""


def make_root(engine: Engine, reference: str, tag: str) -> None:
    """Make the image. It goes with the run: a node's root changes.

    Args:
        engine: of the node.
        reference: the image's full name.
        tag: any; it only names the image.

    Raises:
        NoSpaceError: the node's disk is full.
        EngineError: reading the root failed, or the engine refused it.
    """
    node, lease = engine.node, Lease.of(engine)
    archive = f"/var/tmp/lisa_container.{secrets.token_hex(8)}"
    lease.file(archive)
    excluded = [f"--exclude=./{path}/*" for path in _CONTENTS]
    excluded += [f"--exclude=./{path}" for path in _FILES]
    changes = ['CMD ["/bin/sh"]']
    changes += [f"LABEL {name}={json.dumps(value)}" for name, value in lease.labels().items()]
    script = _SCRIPT.format(
        archive=archive,
        excluded=shlex.join(excluded),
        engine=engine.kind,
        changes=shlex.join(word for change in changes for word in ("--change", change)),
    )
    result = node.execute(script, shell=True, sudo=True, timeout=_TIMEOUT, no_info_log=True)
    said = f"{result.stdout}\n{result.stderr}"
    if result.exit_code and "no space left" in said.lower():
        raise NoSpaceError(engine.name, said[-2000:])
    if result.exit_code:
        raise EngineError(
            f"making image '{reference}' of the root of node '{engine.name}' failed: "
            f"{said[-2000:]}. It needs GNU tar and room in /var/tmp there."
        )
    adopt(engine, result.stdout.split()[-1], reference)
