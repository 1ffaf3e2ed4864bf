"""An image made of layers, without any engine: a `docker save` archive and an OCI layout in one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_container.config import LOCAL_REPOSITORY
from lisa_container.errors import ImageArchiveError
from lisa_container.images.layers.content import changed
from lisa_container.images.layers.entry import LayerEntry
from lisa_container.images.layers.plan import Item
from lisa_container.images.layers.tar import END, header, layer_stream, padding
from lisa_container.images.media import (
    BLOBS,
    CONTAINERD_NAME,
    DOCKER_MANIFEST_FILE,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_INDEX_FILE,
    OCI_LAYER,
    OCI_LAYOUT_FILE,
    OCI_MANIFEST,
    OCI_NAME,
    digest_of,
)
from lisa_container.images.names import full_name, with_registry

NAME = "layers"
"""Images made of layers are `lisa_container/layers:<key>`."""

_KEY_DIGITS = 16
_FOLDER = LayerEntry.folder(mode=0o755)
_FILE = LayerEntry(mode=0o644)


@dataclass(frozen=True)
class BuiltLayer:
    """A layer and what was found out about it when the image was made.

    Args:
        items: its entries, in their order.
        digest: of its tar, `sha256:…`.
        size: of its tar, in bytes.
    """

    items: tuple[Item, ...] = field(repr=False)
    digest: str
    size: int

    @classmethod
    def of(cls, items: Iterable[Item]) -> BuiltLayer:
        """Find it out, reading all files of the layer once.

        Raises:
            ImageArchiveError: a file of this machine cannot be read.
        """
        items = tuple(items)
        digest, size = hashlib.sha256(), 0
        for piece in layer_stream(items):
            digest.update(piece)
            size += len(piece)
        return cls(items, f"sha256:{digest.hexdigest()}", size)

    def stream(self) -> Iterator[bytes]:
        """Its tar.

        Raises:
            ImageArchiveError: it is not the same any more.
        """
        digest, size = hashlib.sha256(), 0
        for piece in layer_stream(self.items):
            digest.update(piece)
            size += len(piece)
            if size > self.size:
                break
            yield piece
        if f"sha256:{digest.hexdigest()}" != self.digest:
            local = [str(x.entry.content) for x in self.items if isinstance(x.entry.content, Path)]
            raise changed(", ".join(local))


class LayeredImage:
    """An image made by `image_from_layers`. It can be saved, and run on any node:

        ContainerExecutor(node, ContainerTestConfig(image=image.reference))

    Args:
        layers: the lowest first.
        settings: what the image says of a container of it: `Cmd`, `Env` and so on.
        platform: `os/architecture[/variant]`.
    """

    def __init__(
        self, layers: tuple[BuiltLayer, ...], settings: Mapping[str, Any], platform: str
    ) -> None:
        self.layers = layers
        self.platform = platform
        self._settings = dict(settings)
        self.config = self._config()
        """What the engine keeps of it beside the layers, as JSON."""
        self.id = digest_of(self.config)
        """What the engine calls it once it was loaded from a saved archive: `sha256:…`."""
        self.digest = digest_of(self._manifest())
        """Of its manifest, as a registry would call it: `sha256:…`."""
        self.reference = f"{LOCAL_REPOSITORY}{NAME}:{self.id[7 : 7 + _KEY_DIGITS]}"
        """Its name, for `ContainerTestConfig(image=…)`: the same for the same content."""

    def __repr__(self) -> str:
        return f"image '{self.reference}' of {len(self.layers)} layers for {self.platform}"

    @property
    def size(self) -> int:
        """Bytes of all layers together."""
        return sum(layer.size for layer in self.layers)

    def save(self, path: str | Path, name: str = "") -> Path:
        """Write the archive: for `docker load`, `podman load`, `ctr images import` and all that
        reads an OCI layout. The same image gives the same bytes.

        Args:
            path: of the file; one that is there is replaced, once all is written.
            name: what the image is called where it is loaded; `reference` by default.

        Returns:
            The path.

        Raises:
            ConfigError: the name is none.
            ImageArchiveError: the file cannot be written, or a file of a layer was changed.
        """
        path = Path(path)
        chunks = self.stream(name or self.reference)
        try:
            handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.writelines(chunks)
                mask = os.umask(0)
                os.umask(mask)
                os.chmod(partial, 0o666 & ~mask)  # noqa: PTH101
                os.replace(partial, path)  # noqa: PTH105
            except BaseException:
                os.unlink(partial)  # noqa: PTH108
                raise
        except OSError as error:
            raise ImageArchiveError(str(path), f"it cannot be written: {error.strerror}") from error
        return path

    def stream(self, name: str = "") -> Iterator[bytes]:
        """The archive, a piece at a time; see `save`.

        Args:
            name: what the image is called where it is loaded; none by default.

        Raises:
            ConfigError: the name is none.
            ImageArchiveError: while it is read: a file of a layer was changed.
        """
        return self._stream(full_name(name) if name else "")

    def _stream(self, name: str) -> Iterator[bytes]:
        manifest = self._manifest()
        small = {
            OCI_LAYOUT_FILE: _json({"imageLayoutVersion": "1.0.0"}),
            OCI_INDEX_FILE: _json(self._index(manifest, name)),
            DOCKER_MANIFEST_FILE: _json(self._docker_manifest(name)),
        }
        for path, content in small.items():
            yield from _member(path, content)
        for folder in (BLOBS, f"{BLOBS}/sha256"):
            yield header(folder, _FOLDER)
        for content in (self.config, manifest):
            yield from _member(_blob(digest_of(content)), content)
        # One that is there twice is written once.
        for layer in {layer.digest: layer for layer in self.layers}.values():
            yield header(_blob(layer.digest), _FILE, layer.size)
            yield from layer.stream()
            yield padding(layer.size)
        yield END

    def _config(self) -> bytes:
        os_name, architecture, *variant = self.platform.split("/")
        return _json(
            {
                "architecture": architecture,
                "config": self._settings,
                "created": "1970-01-01T00:00:00Z",
                "history": [
                    {"created": "1970-01-01T00:00:00Z", "created_by": "image_from_layers"}
                    for _ in self.layers
                ],
                "os": os_name,
                "rootfs": {"diff_ids": [x.digest for x in self.layers], "type": "layers"},
                **({"variant": variant[0]} if variant else {}),
            }
        )

    def _manifest(self) -> bytes:
        return _json(
            {
                "config": _descriptor(OCI_CONFIG, self.id, len(self.config)),
                "layers": [_descriptor(OCI_LAYER, x.digest, x.size) for x in self.layers],
                "mediaType": OCI_MANIFEST,
                "schemaVersion": 2,
            }
        )

    def _index(self, manifest: bytes, name: str) -> dict[str, Any]:
        described = _descriptor(OCI_MANIFEST, digest_of(manifest), len(manifest))
        os_name, architecture, *variant = self.platform.split("/")
        described["platform"] = {"architecture": architecture, "os": os_name}
        if variant:
            described["platform"]["variant"] = variant[0]
        if name:
            described["annotations"] = {
                CONTAINERD_NAME: with_registry(name),
                OCI_NAME: name.rpartition(":")[2],
            }
        return {"manifests": [described], "mediaType": OCI_INDEX, "schemaVersion": 2}

    def _docker_manifest(self, name: str) -> list[dict[str, Any]]:
        return [
            {
                "Config": _blob(self.id),
                "Layers": [_blob(layer.digest) for layer in self.layers],
                "RepoTags": [name] if name else None,
            }
        ]


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _blob(digest: str) -> str:
    return f"{BLOBS}/{digest.replace(':', '/')}"


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"digest": digest, "mediaType": media_type, "size": size}


def _member(path: str, content: bytes) -> Iterator[bytes]:
    yield header(path, _FILE, len(content))
    yield content
    yield padding(len(content))
