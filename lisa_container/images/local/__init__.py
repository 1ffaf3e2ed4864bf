"""Images made on a node, for nodes without a registry: `lisa_container/<name>[:tag]`."""

from __future__ import annotations

from typing import Callable

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.images.layers import LAYERS_NAME
from lisa_container.images.local.busybox import make_busybox
from lisa_container.images.local.debian import make_debian
from lisa_container.images.local.layers import load_layers
from lisa_container.images.local.root import make_root

MAKERS: dict[str, Callable[[Engine, ImageReference], None]] = {
    "busybox": make_busybox,
    "debian": make_debian,
    "root": make_root,
    LAYERS_NAME: load_layers,
}
"""Name behind `lisa_container/` -> function that makes the image."""

__all__ = ["MAKERS"]
