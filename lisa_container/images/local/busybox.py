"""`lisa_container/busybox`: the node's own static busybox, with a link for each applet."""

from __future__ import annotations

import json
import re
import tarfile

from lisa.node import Node

from lisa_container.archives.pack import pack_bytes
from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import RUN_LABEL, run_id
from lisa_container.engine.script import run_script
from lisa_container.errors import EngineError, NoSpaceError
from lisa_container.images.local.adopt import adopt
from lisa_container.images.local.node_job import install_package
from lisa_container.masking import Plain
from lisa_container.naming import node_name

# Debian's busybox-static puts it at /bin/busybox; Fedora's busybox at /usr/sbin/busybox.
_FIND = (
    "for file in /bin/busybox /usr/bin/busybox /usr/sbin/busybox /bin/busybox.static; do "
    'if [ -x "$file" ] && ! ldd "$file" >/dev/null 2>&1; then echo "$file"; break; fi; done'
)

# Seconds for reading the program, a megabyte or two, over a slow connection.
_TIMEOUT = 120.0

# Files that a shell and libc expect in any image.
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}
# LISA reads the name and the version of a node's system from it.
_OS_RELEASE = """\
NAME="BusyBox"
ID=busybox
VERSION_ID="{version}"
PRETTY_NAME="BusyBox {version} of the node"
"""
# The first line of busybox's help, as "BusyBox v1.35.0 (Debian 1:1.35.0-4) multi-call binary."
_VERSION = re.compile(r"BusyBox v(\d+(?:\.\d+)*)")
_FOLDERS = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755}


def make_busybox(engine: Engine, reference: ImageReference) -> None:
    """Make the image on the engine's node.

    Args:
        engine: engine of the node.
        reference: the image's name, with any tag.

    Raises:
        EngineError: the node has no static busybox and none could be installed.
    """
    node = engine.node
    node.log.info(Plain(f"making image '{reference}' on node '{engine.name}'"))
    path = _find(node)
    applets = run_script(node, f"{path} --list").stdout.split()
    # Not by SFTP, which breaks where the user's start files print something.
    program = run_script(node, f"cat {path}", timeout=_TIMEOUT).stdout_bytes
    version = _VERSION.search(run_script(node, f"{path} 2>&1 | head -n 1").stdout)
    os_release = _OS_RELEASE.format(version=version[1] if version else "0")
    archive = pack_bytes(_entries(program, applets, os_release.encode()))
    # No lease: the image is a cache that outlives the run.
    label = f"LABEL {RUN_LABEL}={run_id()}"
    with engine.errors(image=str(reference)):
        answer = engine.api.import_image_from_data(
            archive, changes=["ENV PATH=/bin", "CMD /bin/sh", label]
        )
    adopt(engine, json.loads(answer)["status"], reference)


def _find(node: Node) -> str:
    path = run_script(node, _FIND).stdout
    reason = ""
    if not path:
        try:
            install_package(node, "busybox-static")
        except NoSpaceError:
            raise
        except EngineError as error:
            reason = f"\n{error}"
        path = run_script(node, _FIND).stdout
    if not path:
        raise EngineError(
            f"node '{node_name(node)}' has no static busybox to make an image of. Install one "
            "there (Debian and Ubuntu: 'apt-get install busybox-static') or name another image."
            f"{reason}"
        )
    return path


def _entries(
    busybox: bytes, applets: list[str], os_release: bytes
) -> list[tuple[tarfile.TarInfo, bytes]]:
    entries = []
    for name, mode in _FOLDERS.items():
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        entries.append((folder, b""))
    for name, content in {"bin/busybox": busybox, "etc/os-release": os_release, **_FILES}.items():
        file = tarfile.TarInfo(name)
        file.mode = 0o755 if name.startswith("bin/") else 0o644
        entries.append((file, content))
    for applet in applets:
        if applet != "busybox":
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            entries.append((link, b""))
    return entries
