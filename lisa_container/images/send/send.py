"""Sending one image to one node: only missing layers, in parts that survive a lost connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable

from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.progress import Progress
from lisa_container.errors import EngineError, ImageLoadError, SshLostError
from lisa_container.images.load import load_image
from lisa_container.images.send.archive import load_archive
from lisa_container.images.send.missing import missing_layers
from lisa_container.images.send.pack import PackedLayer, Packer
from lisa_container.images.send.shipment import Shipment
from lisa_container.masking import Plain

OnProgress = Callable[[int, int], object]
"""Called with the bytes of the missing layers sent so far, and of all missing layers, both as the
layers are stored here."""

# Label of an image of the lowest layers only: the id of the whole image.
_PART_LABEL = "lisa_container.part_of"

# Bytes of layers (as they are stored here) in one load. Loaded layers stay when the connection
# breaks later; each load takes an additional tenth of a second.
_PORTION = 32 * 1024 * 1024

# Tries in a row that may end with a lost connection and no new layer, and seconds between them.
_TRIES, _PAUSE = 3, 1.0


class Stopped(Exception):  # noqa: N818
    """Raised in a sender that was told to stop."""


class Sender:
    """Sender of one image to one node.

    Args:
        engine: engine of the node.
        shipment: the image.
        packer: packer that all nodes share.
        on_progress: called after each piece.
        stop: set to make the sender stop.
    """

    def __init__(
        self,
        engine: Engine,
        shipment: Shipment,
        packer: Packer,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Send nothing yet."""
        self._engine = engine
        self._shipment = shipment
        self._packer = packer
        self._on_progress = on_progress
        self._stop = stop or threading.Event()
        self._diff_ids = [layer.diff_id for layer in shipment.layers]
        self._is_whole = False
        self._total = 0
        self._done = 0.0
        self._what = f"image '{shipment.what}' to node '{engine.name}'"
        self._progress = Progress(self._what, engine.node.log)
        self.layers = 0
        """Number of layers that were sent and loaded."""
        self.sent = 0
        """Bytes of all archives that were sent, repetitions included."""

    def send(self, labels: Mapping[str, str]) -> str:
        """Bring the image to the node, without a name.

        Args:
            labels: labels to add to the image. They change its id.

        Returns:
            The engine's id of the image.

        Raises:
            NoSpaceError: the node's disk is full.
            SshLostError: the node cannot be reached any more.
            ImageLoadError: the engine refused the image.
            EngineError: the engine does not answer.
            ImageArchiveError: a layer cannot be read.
            Stopped: `stop` was set.
        """
        left, before = _TRIES, -1
        while True:
            try:
                with Progress(f"sending {self._what}", self._engine.node.log) as self._progress:
                    loaded = self._send_missing(labels)
                break
            except SshLostError as error:
                left = _TRIES if self.layers > before else left - 1
                before = self.layers
                if not left:
                    raise
                self._log(f"continuing after: {error}")
                self._stop.wait(_PAUSE)
        self._remove_parts()
        return loaded

    def _send_missing(self, labels: Mapping[str, str]) -> str:
        every = range(len(self._diff_ids))
        missing = every if self._is_whole else missing_layers(self._engine, self._diff_ids)
        self._plan(missing)
        *parts, last = self._portions(missing)
        try:
            for portion in parts:
                until = portion[-1] + 1
                self._load(self._shipment.part(until, self._part_labels()), portion, until)
            return self._load(self._shipment.labelled(labels), last, len(every))
        except ImageLoadError as error:
            if self._is_whole or (len(missing) == len(every) and not parts):
                raise
            # A layer was removed meanwhile, or the engine does not look for it before it reads.
            self._log(f"sending all layers after: {error}")
            self._is_whole = True
            self._plan(every)
            return self._load(self._shipment.labelled(labels), every, len(every))

    def _plan(self, missing: Sequence[int]) -> None:
        size = self._shipment.size_of(missing)
        self._total = max(self._total, size)
        self._done = float(self._total - size)
        self._log(f"{len(missing)} of {len(self._diff_ids)} layers are missing there, {size} bytes")

    def _portions(self, missing: Sequence[int]) -> list[Sequence[int]]:
        """Split the positions into loads; at least one, which may be empty."""
        if self._is_whole:
            return [missing]
        portions: list[list[int]] = [[]]
        for position in missing:
            if portions[-1] and self._shipment.size_of([*portions[-1], position]) > _PORTION:
                portions.append([])
            portions[-1].append(position)
        return list(portions)

    def _load(self, config: bytes, portion: Sequence[int], until: int) -> str:
        packed = [self._packer.pack(self._shipment.layers[position]) for position in portion]
        sent = {each.layer.diff_id: each for each in packed}
        archive = load_archive(config, self._diff_ids[:until], sent, self._count)
        loaded = load_image(self._engine, self._watched(archive), self._shipment.what)
        self.layers += len(portion)
        return loaded

    def _watched(self, archive: Iterator[bytes]) -> Iterator[bytes]:
        for piece in archive:
            if self._stop.is_set():
                raise Stopped
            yield piece
            self.sent += len(piece)

    def _count(self, packed: PackedLayer, size: int) -> None:
        self._done += size * packed.layer.size / packed.size
        done = min(round(self._done), self._total)
        if self._on_progress is not None:
            self._on_progress(done, self._total)
        self._progress.update(done, self._total)

    def _log(self, what: str) -> None:
        self._engine.node.log.info(Plain(f"{self._what}: {what}"))

    def _part_labels(self) -> dict[str, str]:
        return {**Lease.of(self._engine).image_labels(), _PART_LABEL: self._shipment.id}

    def _remove_parts(self) -> None:
        """Remove the images of parts of this and earlier tries; the image has their layers."""
        api, label = self._engine.api, f"{_PART_LABEL}={self._shipment.id}"
        ours = Lease.of(self._engine).labels().get(LEASE_LABEL)
        try:
            with self._engine.errors():
                for found in api.images(filters={"label": label}):
                    if found["Labels"].get(LEASE_LABEL) == ours:
                        api.remove_image(found["Id"])
        except EngineError as error:  # they are removed with the run
            self._engine.node.log.debug(str(error))
