"""Where a shipped image comes from: layers of ours, an archive, or the engine of a node."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.config.checks import illegal
from lisa_container.engine.api import is_timeout
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, EngineTimeoutError, ImageArchiveError
from lisa_container.images.ensure import ensure_image
from lisa_container.images.extract.budget import MAX_BYTES, MAX_ENTRIES, Budget
from lisa_container.images.extract.choose import choose_image
from lisa_container.images.extract.faults import Fault, faults_of
from lisa_container.images.extract.store import Store, open_store
from lisa_container.images.extract.stored import StoredLayer
from lisa_container.images.layers import LayeredImage
from lisa_container.images.names import without_registry
from lisa_container.images.ship.shipment import Shipment, ShippedLayer

Image = Union[LayeredImage, Path, str]
"""What can be shipped: layers of ours, an archive on this machine, or an image of a node."""

# Seconds without a byte: an engine writes the whole archive to its disk before it sends the first.
_SAVE_TIMEOUT = 600.0

_LEGAL = (
    "what image_from_layers gave, the Path of an archive, or the name of an image together with "
    "the node that has it (source=…)"
)


def check_image(image: Image, source: Node | None) -> None:
    """Whether that can be shipped, as far as nobody has to be asked.

    Raises:
        ConfigError: it cannot.
        ImageArchiveError: there is no such archive.
    """
    if isinstance(image, str):
        if source is None:
            hint = "an archive is given as a Path" if Path(image).exists() else ""
            raise illegal("image", image, _LEGAL, hint)
        ContainerTestConfig(image=image).require_image()
        return
    if source is not None:
        raise ConfigError(f"source: given with {image!r}; legal: with the name of an image only")
    if isinstance(image, Path):
        if not image.exists():
            raise ImageArchiveError(str(image), "it is not there")
    elif not isinstance(image, LayeredImage):
        raise illegal("image", image, _LEGAL)


@contextlib.contextmanager
def open_shipment(image: Image, source: Node | None, platform: str) -> Iterator[Shipment]:
    """The image, ready to be shipped within a `with` block.

    Args:
        image: passed `check_image`.
        source: the node whose image it is.
        platform: which one, where an archive has several.

    Raises:
        ImageNotFoundError: the source has no such image, and cannot get it.
        ImageArchiveError: the archive is malformed, or has no such image.
        EngineError: the source's engine refused.
    """
    if isinstance(image, LayeredImage):
        yield Shipment.of_layers(image)
    elif isinstance(image, Path):
        with _of_archive(image, str(image), platform) as shipment:
            yield shipment
    else:
        assert source is not None
        with tempfile.TemporaryDirectory(prefix="lisa-container-") as folder:
            archive = Path(folder) / "image.tar"
            name = _save(Engine.of(source), image, archive)
            with _of_archive(archive, name, platform) as shipment:
                yield Shipment(name, name, shipment.config, shipment.layers)


@contextlib.contextmanager
def _of_archive(archive: Path, what: str, platform: str) -> Iterator[Shipment]:
    budget = Budget(MAX_BYTES, MAX_ENTRIES)
    with contextlib.ExitStack() as stack:
        with faults_of(what):
            scratch = Path(tempfile.gettempdir())
            store = stack.enter_context(open_store(archive, scratch, budget))
            chosen = choose_image(store, "", platform)
            layers = tuple(_layer(store, each, what) for each in chosen.layers)
        # In an OCI layout a name may be no more than a tag.
        whole = [name for name in chosen.names if ":" in name.rpartition("/")[2]]
        name = without_registry(whole[0]) if whole else ""
        yield Shipment(name or what, name, chosen.config_bytes, layers)


def _layer(store: Store, stored: StoredLayer, what: str) -> ShippedLayer:
    def chunks() -> Iterator[bytes]:
        with faults_of(what):
            yield from store.chunks(stored.name)

    size = store.size(stored.name)
    if stored.size not in (-1, size):
        raise Fault(f"layer '{stored.name}' has {size} bytes instead of {stored.size}")
    return ShippedLayer(stored.diff_id, size, chunks)


def _save(engine: Engine, image: str, archive: Path) -> str:
    """Write a node's image to an archive on this machine; its full name."""
    config = ContainerTestConfig(image=image)
    name = config.image_reference
    ensure_image(engine, config)
    engine.node.log.info(f"fetching image '{name}' from node '{engine.name}'")
    with engine.errors(image=name):
        try:
            with archive.open("wb") as file:
                file.writelines(engine.api.save_chunks(name, _SAVE_TIMEOUT))
        except Exception as error:
            if is_timeout(error):
                what = f"get on with saving image '{name}'"
                raise EngineTimeoutError(engine.name, what, _SAVE_TIMEOUT) from error
            raise
    return name
