"""`LayeredImage`: an image made of layers, saved as a `docker save` file and OCI layout in one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_container.archives.pack import END, padding
from lisa_container.atomic import replace_file
from lisa_container.config import LOCAL_REPOSITORY, ImageReference
from lisa_container.config.images import new_name
from lisa_container.errors import ImageArchiveError
from lisa_container.images.digest import Digester, digest_of
from lisa_container.images.layers.content import changed
from lisa_container.images.layers.entry import LayerEntry
from lisa_container.images.layers.plan import Item
from lisa_container.images.layers.tar import header, layer_stream
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
)

NAME = "layers"
"""Name of these images behind `lisa_container/`; the tag is a key."""

_KEY_DIGITS = 16
_FOLDER = LayerEntry.folder(mode=0o755)
_FILE = LayerEntry(mode=0o644)


@dataclass(frozen=True)
class BuiltLayer:
    """Layer with the digest and size that it had when the image was made.

    Args:
        items: its entries, in their order.
        digest: digest of its tar, `sha256:…`.
        size: bytes of its tar.
    """

    items: tuple[Item, ...] = field(repr=False)
    digest: str
    size: int

    @classmethod
    def of(cls, items: Iterable[Item]) -> BuiltLayer:
        """Compute digest and size; reads all files of the layer once.

        Raises:
            ImageArchiveError: a file of this machine cannot be read.
        """
        items = tuple(items)
        digester = Digester()
        for piece in layer_stream(items):
            digester.update(piece)
        return cls(items, digester.digest, digester.size)

    def stream(self) -> Iterator[bytes]:
        """Yield the layer's tar.

        Raises:
            ImageArchiveError: a file has changed since the image was made.
        """
        digester = Digester()
        for piece in digester.watch(layer_stream(self.items)):
            if digester.size > self.size:
                break
            yield piece
        if digester.digest != self.digest:
            local = [str(x.entry.content) for x in self.items if isinstance(x.entry.content, Path)]
            raise changed(", ".join(local))


class LayeredImage:
    """Image made by `image_from_layers`, to be saved, or run on any node.

        ContainerExecutor(node, ContainerTestConfig(image=image.reference))

    Args:
        layers: the lowest first.
        settings: settings for containers of the image: `Cmd`, `Env` and so on.
        platform: `os/architecture[/variant]`.
    """

    def __init__(
        self, layers: tuple[BuiltLayer, ...], settings: Mapping[str, Any], platform: str
    ) -> None:
        """Derive the image's config and id from its layers."""
        self.layers = layers
        self.platform = platform
        self._settings = dict(settings)
        self.config = self._config()
        """Config of the image, as JSON."""
        self.id = digest_of(self.config)
        """Id that engines give the image when they load its archive: `sha256:…`."""
        self.digest = digest_of(self._manifest())
        """Digest of the manifest, by which a registry names the image: `sha256:…`."""
        self.reference = f"{LOCAL_REPOSITORY}{NAME}:{self.id[7 : 7 + _KEY_DIGITS]}"
        """Name for `ContainerTestConfig(image=…)`; the same content has the same name."""

    def __repr__(self) -> str:
        """Return the image's name, size and platform, for messages."""
        return f"image '{self.reference}' of {len(self.layers)} layers for {self.platform}"

    @property
    def size(self) -> int:
        """Bytes of all layers together."""
        return sum(layer.size for layer in self.layers)

    def save(self, path: str | Path, name: str = "") -> Path:
        """Write the archive for `docker load`, `podman load` and readers of OCI layouts.

        The same image gives the same bytes.

        Args:
            path: path of the file. An existing file is replaced once the archive is complete.
            name: name that the image gets where it is loaded; `reference` by default.

        Returns:
            The path.

        Raises:
            ConfigError: the name is illegal.
            ImageArchiveError: the file cannot be written, or a file of a layer has changed.
        """
        path = Path(path)
        chunks = self.stream(name or self.reference)
        try:
            replace_file(path, chunks)
        except OSError as error:
            raise ImageArchiveError(str(path), f"it cannot be written: {error.strerror}") from error
        return path

    def stream(self, name: str = "") -> Iterator[bytes]:
        """Return the archive in pieces; see `save`.

        Args:
            name: name that the image gets where it is loaded; none by default.

        Raises:
            ConfigError: the name is illegal.
            ImageArchiveError: while the pieces are read: a file of a layer has changed.
        """
        return self._stream(new_name("name", name) if name else None)

    def _stream(self, name: ImageReference | None) -> Iterator[bytes]:
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
        # A layer that occurs twice is written once.
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

    def _index(self, manifest: bytes, name: ImageReference | None) -> dict[str, Any]:
        described = _descriptor(OCI_MANIFEST, digest_of(manifest), len(manifest))
        os_name, architecture, *variant = self.platform.split("/")
        described["platform"] = {"architecture": architecture, "os": os_name}
        if variant:
            described["platform"]["variant"] = variant[0]
        if name:
            described["annotations"] = {
                CONTAINERD_NAME: str(name.full),
                OCI_NAME: name.tag,
            }
        return {"manifests": [described], "mediaType": OCI_INDEX, "schemaVersion": 2}

    def _docker_manifest(self, name: ImageReference | None) -> list[dict[str, Any]]:
        return [
            {
                "Config": _blob(self.id),
                "Layers": [_blob(layer.digest) for layer in self.layers],
                "RepoTags": [str(name)] if name else None,
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
