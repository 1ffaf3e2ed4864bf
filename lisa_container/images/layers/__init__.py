"""Images made of layers that are defined in Python, without any engine."""

from __future__ import annotations

from lisa_container.images.layers.build import image_from_layers, made_image
from lisa_container.images.layers.entry import EntryKind, LayerEntry
from lisa_container.images.layers.image import NAME as LAYERS_NAME
from lisa_container.images.layers.image import LayeredImage

__all__ = [
    "LAYERS_NAME",
    "EntryKind",
    "LayerEntry",
    "LayeredImage",
    "image_from_layers",
    "made_image",
]
