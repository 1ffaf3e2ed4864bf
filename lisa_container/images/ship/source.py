"""Sources of a shipped image: a `LayeredImage`, an archive, or the engine of a node."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

from lisa.node import Node

from lisa_container.config import ContainerTestConfig, ImageReference
from lisa_container.config.checks import illegal
from lisa_container.engine.client import Engine
from lisa_container.engine.http.api import is_timeout
from lisa_container.errors import ConfigError, EngineTimeoutError, ImageArchiveError
from lisa_container.forks import temporary_folder
from lisa_container.images.ensure import ensure_image
from lisa_container.images.extract.budget import MAX_BYTES, MAX_ENTRIES, Budget
from lisa_container.images.extract.choose import choose_image
from lisa_container.images.extract.faults import Fault, faults_of
from lisa_container.images.extract.store import Store, open_store
from lisa_container.images.extract.stored_image import StoredLayer
from lisa_container.images.layers import LayeredImage
from lisa_container.images.send.shipment import Shipment, ShippedLayer
from lisa_container.masking import Plain

Image = Union[LayeredImage, Path, str]
"""Image to ship: a `LayeredImage`, an archive on this machine, or the name of a node's image."""

# Seconds without a byte: an engine writes the whole archive to its disk before it sends anything.
_SAVE_TIMEOUT = 600.0

_LEGAL = (
    "the result of image_from_layers, the Path of an archive, or the name of an image together "
    "with the node that has it (source=…)"
)


def check_image(image: Image, source: Node | None) -> None:
    """Check the arguments as far as possible without asking a node.

    Raises:
        ConfigError: the image cannot be shipped, or the arguments do not fit together.
        ImageArchiveError: the archive does not exist.
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
            raise ImageArchiveError(str(image), "it does not exist")
    elif not isinstance(image, LayeredImage):
        raise illegal("image", image, _LEGAL)


@contextlib.contextmanager
def open_shipment(image: Image, source: Node | None, platform: str) -> Iterator[Shipment]:
    """Prepare an image to be shipped within a `with` block.

    Args:
        image: an image that passed `check_image`.
        source: the node that has the image.
        platform: the platform to choose where an archive has several.

    Raises:
        ImageNotFoundError: the source lacks the image and cannot pull it.
        ImageArchiveError: the archive is malformed or lacks the image.
        EngineError: the source's engine refused.
    """
    if isinstance(image, LayeredImage):
        yield Shipment.of_layers(image)
    elif isinstance(image, Path):
        with _open_archive(image, str(image), platform) as shipment:
            yield shipment
    else:
        assert source is not None
        with temporary_folder("lisa-container-") as folder:
            archive = Path(folder) / "image.tar"
            name = _save(Engine.of(source), image, archive)
            with _open_archive(archive, str(name), platform) as shipment:
                yield Shipment(str(name), name, shipment.config, shipment.layers)


@contextlib.contextmanager
def archive_of(image: Image, source: Node | None) -> Iterator[Path]:
    """Give the archive of an image within a `with` block; one that is made ends with the block.

    Args:
        image: an image, as for `ship`.
        source: the node that has the image, if it is given by its name.

    Raises:
        ConfigError: the image is none, or the arguments do not fit together.
        ImageNotFoundError: the source lacks the image and cannot pull it.
        ImageArchiveError: the archive does not exist, or cannot be written.
        EngineError: the source's engine refused.
    """
    check_image(image, source)
    if isinstance(image, Path):
        yield image
        return
    with temporary_folder("lisa-container-") as folder:
        archive = Path(folder) / "image.tar"
        if isinstance(image, LayeredImage):
            image.save(archive)
        else:
            assert source is not None
            _save(Engine.of(source), image, archive)
        yield archive


@contextlib.contextmanager
def _open_archive(archive: Path, what: str, platform: str) -> Iterator[Shipment]:
    budget = Budget(MAX_BYTES, MAX_ENTRIES)
    with contextlib.ExitStack() as stack:
        with faults_of(what):
            scratch = Path(tempfile.gettempdir())
            store = stack.enter_context(open_store(archive, scratch, budget))
            chosen = choose_image(store, "", platform)
            layers = tuple(_layer(store, each, what) for each in chosen.layers)
        name = _first_name(chosen.names)
        yield Shipment(str(name or what), name, chosen.config_bytes, layers)


def _first_name(names: Iterable[str]) -> ImageReference | None:
    """Return the first whole name: in an OCI layout, a name may be a tag only."""
    for name in names:
        reference = ImageReference.try_parse(name) if ":" in name.rpartition("/")[2] else None
        if reference is not None and not reference.digest:
            return reference.familiar
    return None


def _layer(store: Store, stored: StoredLayer, what: str) -> ShippedLayer:
    def chunks() -> Iterator[bytes]:
        with faults_of(what):
            yield from store.chunks(stored.name)

    size = store.size(stored.name)
    if stored.size not in (-1, size):
        raise Fault(f"layer '{stored.name}' has {size} bytes instead of {stored.size}")
    return ShippedLayer(stored.diff_id, size, chunks)


def _save(engine: Engine, image: str, archive: Path) -> ImageReference:
    """Write a node's image to an archive on this machine; return its name."""
    config = ContainerTestConfig(image=image)
    name = config.parsed_image
    ensure_image(engine, config)
    engine.node.log.info(Plain(f"fetching image '{name}' from node '{engine.name}'"))
    with engine.errors(image=str(name)):
        try:
            with archive.open("wb") as file:
                file.writelines(engine.api.save_chunks(str(name), _SAVE_TIMEOUT))
        except Exception as error:
            if is_timeout(error):
                what = f"continue saving image '{name}'"
                raise EngineTimeoutError(engine.name, what, _SAVE_TIMEOUT) from error
            raise
    return name
