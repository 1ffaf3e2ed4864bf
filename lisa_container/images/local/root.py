"""`lisa_container/root`: the node's own root file system, without secrets and machine data.

Unlike a mount of the node's root, a container of the image can be changed freely, for example by
installing packages or removing files, without effect on the node.
"""

from __future__ import annotations

import json
import shlex

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.images.local.adopt import adopt, engine_command
from lisa_container.images.local.node_job import make_image
from lisa_container.images.local.root_secrets import EXCLUDED, FIND_SECRETS

# Seconds for making the image from a large root on a slow disk.
_TIMEOUT = 3600

# Folders that are empty in the image, in addition to those with secrets: their content is made at
# each start, or is the storage of engines.
_CONTENTS = (
    *("proc", "sys", "dev", "run", "tmp", "var/tmp", "boot", "lost+found"),
    *("var/lib/docker", "var/lib/containerd", "var/lib/containers", "var/cache/apt/archives"),
)

# tar exits with 1 if a file changed while it was read, which is no error on a running node.
_SCRIPT = """
set -e
umask 077
trap 'rm -rf {folder}' EXIT
trap 'exit 143' TERM
code=0
{find_secrets} | tar -C / --one-file-system --xattrs {excluded} \\
    --anchored --no-wildcards --exclude-from=- -cf {archive} . || code=$?
[ "$code" -le 1 ]
{engine} import {changes} - <{archive}
"""


def make_root(engine: Engine, reference: ImageReference) -> None:
    """Make the image on the engine's node. It is removed with the run, since a node's root changes.

    Args:
        engine: engine of the node.
        reference: the image's name, with any tag.

    Raises:
        NoSpaceError: the node's disk is full.
        EngineError: reading the root failed, or the engine refused the image.
    """
    lease = Lease.of(engine)
    # A private folder: another user could otherwise create the file first, since command lines show
    # its name.
    folder = lease.folder("/var/tmp")
    excluded = [f"--exclude=./{path}/*" for path in _CONTENTS]
    excluded += EXCLUDED
    changes = ['CMD ["/bin/sh"]']
    labels = lease.image_labels(str(reference))
    changes += [f"LABEL {name}={json.dumps(value)}" for name, value in labels.items()]
    script = _SCRIPT.format(
        folder=folder,
        archive=f"{folder}/root.tar",
        excluded=shlex.join(excluded),
        find_secrets=FIND_SECRETS,
        engine=engine_command(engine),
        changes=shlex.join(word for change in changes for word in ("--change", change)),
    )
    advice = "\nThis needs GNU tar and free space in /var/tmp there."
    make_image(engine, reference, script, _TIMEOUT, advice)
    adopt(engine, lease.list_image(labels), reference)
