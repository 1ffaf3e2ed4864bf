"""`ship`: send one image to many nodes, over the SSH connection of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Callable

from lisa.node import Node

from lisa_container.config import ImageReference, images
from lisa_container.config.checks import illegal
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.waiting import bounded
from lisa_container.engine.workers import Workers
from lisa_container.errors import (
    ConfigError,
    EngineError,
    ImageNameTakenError,
    ShipError,
)
from lisa_container.images.find import inspect_image
from lisa_container.images.lock import image_lock
from lisa_container.images.send.pack import Packer
from lisa_container.images.send.send import Sender
from lisa_container.images.send.shipment import Shipment
from lisa_container.images.ship.source import Image, check_image, open_shipment
from lisa_container.naming import node_name

# Nodes that are served at a time. One process encrypts for all of them: two fill its processor, and
# the others use the time in which an engine unpacks.
_WORKERS = 8

# Seconds to wait for the sending threads after an interrupt.
_STOP_TIMEOUT = 5.0

# Label of an image that is removed with the run: the id of the original.
_ORIGIN_LABEL = "lisa_container.image"

OnProgress = Callable[[str, int, int], object]
"""Called with a node's name, the bytes of its missing layers sent so far, and of all its missing
layers; several threads call it."""


@dataclass(frozen=True)
class Shipped:
    """Result of shipping an image to one node.

    Args:
        node: name of the node.
        reference: name of the image there.
        id: the engine's id of the image.
        layers: number of layers that had to be sent.
        sent: bytes that were sent, after compression.
    """

    node: str
    reference: str
    id: str
    layers: int
    sent: int


def ship(
    image: Image,
    nodes: Iterable[Node],
    *,
    name: str = "",
    source: Node | None = None,
    platform: str = "",
    keep: bool = False,
    compress: bool = True,
    on_progress: OnProgress | None = None,
) -> list[Shipped]:
    """Bring an image to nodes that reach no registry; each receives only the layers it lacks.

        ship(Path("image.tar"), nodes)
        ContainerExecutor(nodes[0], ContainerTestConfig(image="team/tool:1"))

    Args:
        image: the result of `image_from_layers`; the `Path` of an archive (`docker save`, `podman
            save`, an OCI layout); or the name of an image of `source`.
        nodes: the nodes to send to, several at a time.
        name: name of the image on the nodes; its own name by default.
        source: the node that has the image or can pull it. It may be a local node, and one of
            `nodes`.
        platform: such as `linux/arm64`, where an archive has several; this machine's by default.
        keep: whether the image stays when the run ends, as after `docker load`. By default it is
            removed with the run; the labels for that give it another id.
        compress: whether layers are compressed where that makes them smaller. This is quicker up to
            about 300 Mbit/s to one node, and n times that to n nodes.
        on_progress: see `OnProgress`.

    Returns:
        The result for each node, in the order of `nodes`.

    Raises:
        ConfigError: an argument is wrong; nothing was sent.
        ImageArchiveError: the archive cannot be read.
        ImageNotFoundError, EngineError: the source lacks the image, or its engine refused.
        ShipError: some nodes failed. The others have the image, and the next call continues with
            the layers that are missing.
    """
    targets = list(dict.fromkeys(nodes))
    if not targets:
        raise illegal("nodes", targets, "at least one node")
    images.platform("platform", platform)
    check_image(image, source)
    given = images.new_name("name", name) if name else None
    with open_shipment(image, source, platform) as shipment, Packer(compress) as packer:
        reference = given or _own_name(shipment)

        def job(node: Node) -> Shipped:
            on_node = None if on_progress is None else partial(on_progress, node_name(node))
            engine = Engine.of(node)
            sender = Sender(engine, shipment, packer, on_node, workers.stopping)
            with image_lock(engine, reference):
                return _ship_to(engine, shipment, sender, reference, keep)

        workers = Workers(job, "ship")
        workers.add(targets, _WORKERS)
        try:
            workers.run()
        except BaseException:
            # Wait, because the files that the threads read are closed next.
            with contextlib.suppress(TimeoutError):
                bounded(workers.join, _STOP_TIMEOUT)
            raise
    done = [workers.results[each] for each in sorted(workers.results)]
    if workers.failures:
        failures = [
            (node_name(targets[each]), workers.failures[each]) for each in sorted(workers.failures)
        ]
        raise ShipError(str(reference), failures, done)
    return done


def _own_name(shipment: Shipment) -> ImageReference:
    if shipment.name is None:
        raise ConfigError(
            f"name: none given, and image '{shipment.what}' has none; legal: name='team/tool:1'"
        )
    return images.new_name("name", str(shipment.name))


def _ship_to(
    engine: Engine, shipment: Shipment, sender: Sender, reference: ImageReference, keep: bool
) -> Shipped:
    name = str(reference)
    old = inspect_image(engine, reference)
    labels: dict[str, str] = {}
    if not keep:
        labels = {**Lease.of(engine).image_labels(name), _ORIGIN_LABEL: shipment.id}
    if old is not None:
        old_labels = (old.get("Config") or {}).get("Labels") or {}
        is_same = old_labels.get(_ORIGIN_LABEL) == shipment.id and not keep
        if old["Id"] == shipment.id or is_same:
            return Shipped(engine.name, name, old["Id"], 0, 0)
        if not keep and not Lease.of(engine).lists(old["Id"]):
            raise ImageNameTakenError(name, engine.name)
    loaded = sender.send(labels)
    if labels:
        Lease.of(engine).list_image(labels)
    with engine.errors(image=name):
        engine.api.tag(loaded, reference.name, reference.tag)
    if old is not None and not keep:
        _remove_unnamed(engine, old["Id"])
    return Shipped(engine.name, name, loaded, sender.layers, sender.sent)


def _remove_unnamed(engine: Engine, image: str) -> None:
    """Remove the image that had the name before, unless it has another name.

    An image that a container uses is removed with the run.
    """
    try:
        with engine.errors(image=image):
            if not engine.api.inspect_image(image).get("RepoTags"):
                engine.api.remove_image(image)
    except EngineError as error:
        engine.node.log.debug(str(error))
