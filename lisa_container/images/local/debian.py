"""`lisa_container/debian[:<release>]`: a small Debian made from the node's own package sources."""

from __future__ import annotations

import re

from lisa.node import Node

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.script import run_script
from lisa_container.errors import EngineError
from lisa_container.images.local.adopt import adopt, engine_command
from lisa_container.images.local.node_job import install_package, make_image
from lisa_container.naming import node_name

# Seconds for making the image: 10 to 20 on an idle machine, more with a slow mirror.
_TIMEOUT = 900

# mmdebstrap's "apt" variant: essential packages and apt, so that tools can be installed.
_MMDEBSTRAP = "mmdebstrap --variant=apt --format=tar {release} - {sources}"
_DEBOOTSTRAP = (
    "root=$(mktemp -d) && debootstrap --variant=minbase {release} $root {mirror} >&2 "
    "&& tar -C $root -c . ; code=$?; rm -rf $root; exit $code"
)


def make_debian(engine: Engine, reference: ImageReference) -> None:
    """Make the image with mmdebstrap or debootstrap, whichever the node has or can install.

    Args:
        engine: engine of the node.
        reference: the image's name; its tag is the release (`bookworm`), or `latest` for the
            node's own.

    Raises:
        NoSpaceError: the node's disk is full.
        EngineError: the node is no Debian, or making the image failed.
    """
    node = engine.node
    release = reference.tag if reference.tag != "latest" else _own_release(node)
    command = _command(node, release)
    importer = f"{engine_command(engine)} import --change 'CMD [\"/bin/bash\"]' -"
    # No pipe: only the importer's exit code would count, and a broken tar would become an image.
    script = (
        "set -e; archive=$(mktemp /var/tmp/lisa_container.XXXXXX); "
        "trap 'rm -f $archive' EXIT; trap 'exit 143' TERM; "
        f"({command}) > $archive; {importer} < $archive"
    )
    adopt(engine, make_image(engine, reference, script, _TIMEOUT), reference)


def _own_release(node: Node) -> str:
    release = run_script(node, "cat /etc/os-release").stdout
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
    tool = run_script(node, find, sudo=True).stdout
    if not tool:
        install_package(node, "mmdebstrap")
        tool = run_script(node, find, sudo=True).stdout
    if tool.endswith("mmdebstrap"):
        sources = run_script(
            node, "ls /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null"
        ).stdout.split()
        return _MMDEBSTRAP.format(release=release, sources=" ".join(sources))
    mirror = run_script(
        node, "grep -rhoE 'https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d | head -1"
    ).stdout
    return _DEBOOTSTRAP.format(release=release, mirror=mirror)
