"""`lisa_container/debian[:<release>]`: a small Debian made from the node's own package sources."""

from __future__ import annotations

import re

from lisa.node import Node
from lisa.operating_system import Posix

from lisa_container.engine.client import Engine
from lisa_container.engine.naming import node_name
from lisa_container.errors import EngineError
from lisa_container.images.local.adopt import adopt

# Seconds for making it: 10 to 20 on an idle machine, more on a slow mirror.
_TIMEOUT = 900

# mmdebstrap's "apt" variant: essential packages and apt, so that tools can be installed.
_MMDEBSTRAP = "mmdebstrap --variant=apt --format=tar {release} - {sources}"
_DEBOOTSTRAP = (
    "root=$(mktemp -d) && debootstrap --variant=minbase {release} $root {mirror} >&2 "
    "&& tar -C $root -c . ; code=$?; rm -rf $root; exit $code"
)


def make_debian(engine: Engine, reference: str, tag: str) -> None:
    """Make the image with mmdebstrap or debootstrap, whichever the node has or can install.

    Args:
        engine: of the node.
        reference: the image's full name.
        tag: the release (`bookworm`), or `latest` for the node's own.

    Raises:
        EngineError: the node is no Debian, or making it failed.
    """
    node = engine.node
    release = tag if tag != "latest" else _own_release(node)
    command = _command(node, release)
    importer = f"{engine.kind} import --change 'CMD [\"/bin/bash\"]' -"
    # Only the importer's exit code would count in a pipe; a broken tar must not become an image.
    script = (
        f"set -e; archive=$(mktemp); trap 'rm -f $archive' EXIT; ({command}) > $archive; "
        f"{importer} < $archive"
    )
    result = node.execute(script, shell=True, sudo=True, timeout=_TIMEOUT, no_info_log=True)
    if result.exit_code != 0:
        raise EngineError(
            f"making image '{reference}' on node '{node_name(node)}' failed: "
            f"{(result.stdout + result.stderr)[-2000:]}"
        )
    adopt(engine, result.stdout.split()[-1], reference)


def _own_release(node: Node) -> str:
    release = node.execute("cat /etc/os-release", no_info_log=True).stdout
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)"?', release, re.MULTILINE)
    is_debian = re.search(r'^ID="?debian"?', release, re.MULTILINE)
    if match is None or is_debian is None:
        raise EngineError(
            f"'lisa_container/debian' is made from a node's own package sources, and node "
            f"'{node_name(node)}' is no Debian: name an image of a registry instead"
        )
    return match.group(1)


def _command(node: Node, release: str) -> str:
    find = "command -v mmdebstrap || command -v debootstrap"
    # As root: a user's PATH often lacks /usr/sbin, where debootstrap is.
    tool = node.execute(find, shell=True, sudo=True, no_info_log=True).stdout
    if not tool and isinstance(node.os, Posix):
        node.os.install_packages("mmdebstrap")
        tool = node.execute(find, shell=True, sudo=True, no_info_log=True).stdout
    if tool.endswith("mmdebstrap"):
        sources = node.execute(
            "ls /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null",
            shell=True,
            no_info_log=True,
        ).stdout.split()
        return _MMDEBSTRAP.format(release=release, sources=" ".join(sources))
    mirror = node.execute(
        "grep -rhoE 'https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d | head -1",
        shell=True,
        no_info_log=True,
    ).stdout
    return _DEBOOTSTRAP.format(release=release, mirror=mirror)
