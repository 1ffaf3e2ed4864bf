"""What is shipped, wherever it comes from: an image's config and its layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from lisa_container.images.layers import LayeredImage
from lisa_container.images.media import digest_of


@dataclass(frozen=True)
class ShippedLayer:
    """A layer of an image.

    Args:
        diff_id: digest of its tar, uncompressed; by this an engine knows it.
        size: bytes that `chunks` gives.
        chunks: gives the layer as it is kept here, compressed or not, a piece at a time; from
            several threads at once.
    """

    diff_id: str
    size: int
    chunks: Callable[[], Iterator[bytes]] = field(repr=False)


@dataclass(frozen=True)
class Shipment:
    """An image that is ready to be shipped.

    Args:
        what: to call it in messages.
        name: its own; empty where it has none.
        config: as its builder wrote it.
        layers: the lowest first.
    """

    what: str
    name: str
    config: bytes = field(repr=False)
    layers: tuple[ShippedLayer, ...] = field(repr=False)

    @classmethod
    def of_layers(cls, image: LayeredImage) -> Shipment:
        """That of an image that was made of layers."""
        layers = tuple(ShippedLayer(x.digest, x.size, x.stream) for x in image.layers)
        return cls(image.reference, image.reference, image.config, layers)

    @property
    def id(self) -> str:
        """What an engine calls the image where nothing is added to it: `sha256:…`."""
        return digest_of(self.config)

    def labelled(self, labels: Mapping[str, str]) -> bytes:
        """The config with further labels; the very same bytes where there are none."""
        if not labels:
            return self.config
        config: dict[str, Any] = json.loads(self.config)
        settings = dict(config.get("config") or {})
        settings["Labels"] = {**(settings.get("Labels") or {}), **labels}
        return json.dumps({**config, "config": settings}, separators=(",", ":")).encode()

    def part(self, layers: int, labels: Mapping[str, str]) -> bytes:
        """The config of an image of the lowest layers only, which nobody runs.

        Args:
            layers: how many.
            labels: of the image.
        """
        config: dict[str, Any] = json.loads(self.config)
        kept = {name: config[name] for name in ("architecture", "os", "variant") if name in config}
        diff_ids = [layer.diff_id for layer in self.layers[:layers]]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        return json.dumps({**kept, "config": {"Labels": dict(labels)}, "rootfs": rootfs}).encode()

    def size_of(self, positions: Sequence[int]) -> int:
        """Bytes of some of the layers, as they are kept here."""
        return sum(self.layers[position].size for position in positions)
