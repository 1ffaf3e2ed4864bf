"""`lisa_container/busybox`: the node's own static busybox, a link for each of its applets."""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path

from lisa.node import Node
from lisa.operating_system import Posix

from lisa_container.engine.archive import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import RUN_LABEL, run_id
from lisa_container.engine.naming import node_name
from lisa_container.errors import EngineError
from lisa_container.images.local.adopt import adopt

# Debian's busybox-static puts it at /bin/busybox; Fedora's busybox at /usr/sbin/busybox.
_FIND = (
    "for file in /bin/busybox /usr/bin/busybox /usr/sbin/busybox /bin/busybox.static; do "
    'if [ -x "$file" ] && ! ldd "$file" >/dev/null 2>&1; then echo "$file"; break; fi; done'
)

# What a shell and libc look for in any image.
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/os-release": b'NAME="BusyBox"\nID=busybox\nPRETTY_NAME="BusyBox of the node"\n',
}
_FOLDERS = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755}


def make_busybox(engine: Engine, reference: str, tag: str) -> None:
    """Make the image.

    Args:
        engine: of the node.
        reference: the image's full name.
        tag: any; there is only one kind.

    Raises:
        EngineError: the node has no static busybox and none could be installed.
    """
    node = engine.node
    path = _find(node)
    applets = node.execute(f"{path} --list", no_info_log=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "busybox"
        node.shell.copy_back(node.get_pure_path(path), local)
        archive = pack_bytes(_entries(local.read_bytes(), applets))
    # No lease: it is a cache, and stays.
    label = f"LABEL {RUN_LABEL}={run_id()}"
    with engine.errors(image=reference):
        said = engine.api.import_image_from_data(
            archive, changes=["ENV PATH=/bin", "CMD /bin/sh", label]
        )
    adopt(engine, json.loads(said)["status"], reference)


def _find(node: Node) -> str:
    path = node.execute(_FIND, shell=True, no_info_log=True).stdout
    if not path and isinstance(node.os, Posix):
        try:
            node.os.install_packages("busybox-static")
        except Exception as error:
            node.log.debug(f"busybox-static could not be installed: {error}")
        path = node.execute(_FIND, shell=True, no_info_log=True).stdout
    if not path:
        raise EngineError(
            f"node '{node_name(node)}' has no static busybox to make an image of. Install one "
            "there (Debian and Ubuntu: 'apt-get install busybox-static') or name another image."
        )
    return path


def _entries(busybox: bytes, applets: list[str]) -> list[tuple[tarfile.TarInfo, bytes]]:
    entries = []
    for name, mode in _FOLDERS.items():
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        entries.append((folder, b""))
    for name, content in {"bin/busybox": busybox, **_FILES}.items():
        file = tarfile.TarInfo(name)
        file.mode = 0o755 if name.startswith("bin/") else 0o644
        entries.append((file, content))
    for applet in applets:
        if applet != "busybox":
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            entries.append((link, b""))
    return entries
