"""Images: pull, make, build, push and ship them, and extract their archives.

- `ensure`: bring the image of a config onto a node: found there, pulled, or made.
- `find`, `pull`, `push`, `load`, `caches`: one operation of a node's engine each.
- `credentials`, `mirrors`, `trust`, `failures`: a registry's part in a pull or push.
- `local`: images that are made on the node, named `lisa_container/…`.
- `build`: images from a Dockerfile.
- `layers`: images that are defined in Python.
- `send`: sending an image to one node without a registry.
- `ship`: sending an image to many nodes.
- `extract`: the root file system from an image's archive.
"""

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
