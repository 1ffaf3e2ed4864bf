"""Images: getting the one a config asks for onto the node, making one, shipping one, taking one
apart."""

from __future__ import annotations

from lisa_container.images.build import build_image, built_config
from lisa_container.images.ensure import ensure_image, with_image
from lisa_container.images.extract import ExtractedImage, extract_image
from lisa_container.images.layers import EntryKind, LayeredImage, LayerEntry, image_from_layers
from lisa_container.images.pull import pull_image
from lisa_container.images.push import push_image
from lisa_container.images.ship.ship import Shipped, ship

__all__ = [
    "EntryKind",
    "ExtractedImage",
    "LayerEntry",
    "LayeredImage",
    "Shipped",
    "build_image",
    "built_config",
    "ensure_image",
    "extract_image",
    "image_from_layers",
    "pull_image",
    "push_image",
    "ship",
    "with_image",
]
