"""`Shipment`: the config and layers of an image to ship, from any source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from lisa_container.config import ImageReference
from lisa_container.images.digest import digest_of
from lisa_container.images.layers import LayeredImage


@dataclass(frozen=True)
class ShippedLayer:
    """Layer of an image to ship.

    Args:
        diff_id: digest of its uncompressed tar, by which an engine knows the layer.
        size: bytes that `chunks` gives.
        chunks: gives the layer in pieces as it is stored here, compressed or not; several threads
            may call it at once.
    """

    diff_id: str
    size: int
    chunks: Callable[[], Iterator[bytes]] = field(repr=False)


@dataclass(frozen=True)
class Shipment:
    """Image that is ready to be shipped.

    Args:
        what: the image, for messages.
        name: its own name; None where it has none.
        config: the config as its builder wrote it.
        layers: the lowest first.
    """

    what: str
    name: ImageReference | None
    config: bytes = field(repr=False)
    layers: tuple[ShippedLayer, ...] = field(repr=False)

    @classmethod
    def of_layers(cls, image: LayeredImage) -> Shipment:
        """Prepare an image that was made of layers."""
        layers = tuple(ShippedLayer(x.digest, x.size, x.stream) for x in image.layers)
        name = ImageReference.parse(image.reference)
        return cls(image.reference, name, image.config, layers)

    @property
    def id(self) -> str:
        """Id that an engine gives the image if no label is added: `sha256:…`."""
        return digest_of(self.config)

    def labelled(self, labels: Mapping[str, str]) -> bytes:
        """Return the config with labels added; without labels, the same bytes."""
        if not labels:
            return self.config
        config: dict[str, Any] = json.loads(self.config)
        settings = dict(config.get("config") or {})
        settings["Labels"] = {**(settings.get("Labels") or {}), **labels}
        return json.dumps({**config, "config": settings}, separators=(",", ":")).encode()

    def part(self, layers: int, labels: Mapping[str, str]) -> bytes:
        """Return the config of an image of the lowest layers only, which is never run.

        Args:
            layers: number of layers.
            labels: labels of that image.
        """
        config: dict[str, Any] = json.loads(self.config)
        kept = {name: config[name] for name in ("architecture", "os", "variant") if name in config}
        diff_ids = [layer.diff_id for layer in self.layers[:layers]]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        return json.dumps({**kept, "config": {"Labels": dict(labels)}, "rootfs": rootfs}).encode()

    def size_of(self, positions: Sequence[int]) -> int:
        """Return the bytes of some layers together, as they are stored here."""
        return sum(self.layers[position].size for position in positions)
