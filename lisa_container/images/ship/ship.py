"""`ship`: one image to many nodes, over the SSH connection of each."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

from lisa.node import Node

from lisa_container.config import images as names
from lisa_container.config.checks import illegal
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.naming import node_name
from lisa_container.engine.waiting import SLICE, bounded
from lisa_container.errors import (
    ConfigError,
    EngineError,
    ImageNameTakenError,
    ShipError,
)
from lisa_container.images.find import inspect_image
from lisa_container.images.lock import image_lock
from lisa_container.images.names import full_name
from lisa_container.images.ship.pack import Packer
from lisa_container.images.ship.send import Sender
from lisa_container.images.ship.shipment import Shipment
from lisa_container.images.ship.source import Image, check_image, open_shipment

# How many nodes are sent to at a time. One process encrypts for all of them: two fill its share of
# a processor, and the others use the time in which an engine unpacks.
_WORKERS = 8

# Seconds that those who send are waited for when nobody wants the image any more.
_STOP_TIMEOUT = 5.0

# On an image that goes with the run: the id that it has where it came from.
_ORIGIN_LABEL = "lisa_container.image"

OnProgress = Callable[[str, int, int], object]
"""Called with a node's name, the bytes of its missing layers that were sent so far, and of all that
it misses; from several threads."""


@dataclass(frozen=True)
class Shipped:
    """An image that is on a node now.

    Args:
        node: the node's name.
        reference: the image's name there.
        id: what the engine calls it.
        layers: how many layers had to be sent.
        sent: bytes that were sent for that, compressed where that paid.
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
    """Bring an image to nodes that reach no registry; each is sent only the layers that it lacks.

        ship(Path("image.tar"), nodes)
        ContainerExecutor(nodes[0], ContainerTestConfig(image="team/tool:1"))

    Args:
        image: what `image_from_layers` gave; the `Path` of an archive (`docker save`, `podman
            save`, an OCI layout); or the name of an image of `source`.
        nodes: where to; several are sent to at a time.
        name: what the image is called there; by default its own name.
        source: the node that has the image, or can pull it. It may be a local node, and one of the
            nodes that it is sent to.
        platform: such as `linux/arm64`, where an archive has several; by default this machine's.
        keep: whether the image stays when the run ends, as what `docker load` brings. By default
            it goes with the run, and carries labels for that, which make it another id.
        compress: whether layers that get smaller by it are sent compressed. By default they are,
            which is quicker up to some 300 Mbit/s to one node, and to n nodes up to n times that.
        on_progress: see `OnProgress`.

    Returns:
        What became of it, for each node, in their order.

    Raises:
        ConfigError: an argument is wrong; nothing was sent.
        ImageArchiveError: the archive cannot be read.
        ImageNotFoundError, EngineError: the source has no such image, or refused.
        ShipError: it did not reach all nodes. It was brought to the others, and the next call goes
            on with the layers that are missing.
    """
    targets = list(dict.fromkeys(nodes))
    if not targets:
        raise illegal("nodes", targets, "at least one node")
    names.platform("platform", platform)
    check_image(image, source)
    given = full_name(name) if name else ""
    with open_shipment(image, source, platform) as shipment, Packer(compress) as packer:
        reference = given or _own_name(shipment)

        def job(node: Node, stop: threading.Event) -> Shipped:
            told = None
            if on_progress is not None:
                tell, called = on_progress, node_name(node)

                def told(done: int, total: int) -> None:
                    tell(called, done, total)

            engine = Engine.of(node)
            sender = Sender(engine, shipment, packer, told, stop)
            with image_lock(engine, reference):
                return _to_node(engine, shipment, sender, reference, keep)

        return _Fleet(targets, job).work(reference)


def _own_name(shipment: Shipment) -> str:
    if not shipment.name:
        raise ConfigError(
            f"name: none given, and image '{shipment.what}' has none; legal: name='team/tool:1'"
        )
    return full_name(shipment.name)


def _to_node(
    engine: Engine, shipment: Shipment, sender: Sender, reference: str, keep: bool
) -> Shipped:
    there = inspect_image(engine, reference)
    labels: dict[str, str] = {}
    if not keep:
        labels = {**Lease.of(engine).labels(), _ORIGIN_LABEL: shipment.id}
    old = there["Id"] if there is not None else ""
    if there is not None:
        its = (there.get("Config") or {}).get("Labels") or {}
        if there["Id"] == shipment.id or (its.get(_ORIGIN_LABEL) == shipment.id and not keep):
            return Shipped(engine.name, reference, old, 0, 0)
        is_ours = bool(its.get(LEASE_LABEL)) and its[LEASE_LABEL] == labels.get(LEASE_LABEL)
        if not is_ours and not keep:
            raise ImageNameTakenError(reference, engine.name)
    loaded = sender.send(labels)
    repository, _, tag = reference.rpartition(":")
    with engine.errors(image=reference):
        engine.api.tag(loaded, repository, tag)
    if old and not keep:
        _remove(engine, old)
    return Shipped(engine.name, reference, loaded, sender.layers, sender.sent)


def _remove(engine: Engine, image: str) -> None:
    """Remove what had the name before, unless it has another one too; what a container still uses
    goes with the run."""
    try:
        with engine.errors(image=image):
            if not engine.api.inspect_image(image).get("RepoTags"):
                engine.api.remove_image(image)
    except EngineError as error:
        engine.node.log.debug(str(error))


class _Fleet:
    """Threads that do a job for each node, at most `_WORKERS` of them.

    Args:
        nodes: whose turn comes in order.
        job: called with a node, and with an event that says when to stop.
    """

    def __init__(self, nodes: list[Node], job: Callable[[Node, threading.Event], Shipped]) -> None:
        self._nodes = nodes
        self._job = job
        self._queue = deque(enumerate(nodes))
        self._stop = threading.Event()
        self._done: dict[int, Shipped] = {}
        self._failures: dict[int, Exception] = {}

    def work(self, reference: str) -> list[Shipped]:
        """Do all of it; what interrupts this ends it within a piece of a layer.

        Raises:
            ShipError: a node failed; raised when the others are done.
        """
        threads = [
            threading.Thread(target=self._serve, name="ship", daemon=True)
            for _ in range(min(_WORKERS, len(self._nodes)))
        ]

        def join() -> None:
            for thread in threads:
                while thread.is_alive():
                    thread.join(SLICE)

        try:
            for thread in threads:
                thread.start()
            join()
        except BaseException:
            self._stop.set()
            # What they read is closed behind us.
            with contextlib.suppress(TimeoutError):
                bounded(join, _STOP_TIMEOUT)
            raise
        done = [self._done[each] for each in sorted(self._done)]
        if self._failures:
            failures = [
                (node_name(self._nodes[each]), self._failures[each])
                for each in sorted(self._failures)
            ]
            raise ShipError(reference, failures, done)
        return done

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                number, node = self._queue.popleft()
            except IndexError:
                return
            try:
                self._done[number] = self._job(node, self._stop)
            except Exception as error:  # raised in the waiting thread
                self._failures[number] = error
