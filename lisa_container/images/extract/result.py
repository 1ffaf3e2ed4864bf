"""`ExtractedImage`: the result of `extract_image`, with the config read as an engine reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.stored_image import StoredImage


@dataclass(frozen=True)
class ExtractedImage:
    """Image whose root file system was extracted.

    Args:
        rootfs: folder of the root file system.
        names: names of the image in the archive; may be empty.
        digest: digest of the manifest, `sha256:…`, by which a registry names the image; that of the
            config in an archive of `docker save`, which may have no manifest.
        id: digest of the config, by which an engine names the image.
        platform: `os/architecture[/variant]`.
        entrypoint: words in front of `cmd`.
        cmd: the command, or the arguments of the entrypoint.
        environment: environment variables.
        working_dir: folder in which commands start; `/` by default.
        user: user that commands run as; empty for root.
        labels: labels of the image.
        layers: digests of the uncompressed layers, the lowest first.
        entries: number of entries of all layers together.
        bytes: uncompressed bytes of all layers together.
        skipped: what `skip_denied` left out, such as `owner 0:0 of 'bin/sh'`.
        config: the whole config, as the archive has it.
    """

    rootfs: Path
    names: tuple[str, ...]
    digest: str
    id: str
    platform: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    environment: dict[str, str]
    working_dir: str
    user: str
    labels: dict[str, str]
    layers: tuple[str, ...]
    entries: int
    bytes: int
    skipped: tuple[str, ...] = field(repr=False)
    config: dict[str, Any] = field(repr=False)

    @property
    def command(self) -> tuple[str, ...]:
        """Default command of a container of the image: the entrypoint followed by `cmd`."""
        return self.entrypoint + self.cmd

    def command_for(
        self, args: Sequence[str] = (), entrypoint: Sequence[str] | str | None = None
    ) -> tuple[str, ...]:
        """Return the command of `docker run [--entrypoint E] IMAGE [ARGS…]`.

        Args:
            args: replace `cmd`.
            entrypoint: replaces the image's entrypoint, and removes its `cmd`; an empty one removes
                both.
        """
        if entrypoint is None:
            return self.entrypoint + (tuple(args) or self.cmd)
        words = (entrypoint,) if isinstance(entrypoint, str) else tuple(entrypoint)
        return tuple(word for word in words if word) + tuple(args)


def settings_of(image: StoredImage) -> dict[str, Any]:
    """Return the fields of an `ExtractedImage` that come from the image's config.

    Raises:
        Fault: the config is malformed.
    """
    settings = image.config.get("config") or {}
    if not isinstance(settings, dict):
        raise Fault("'config' of its config is no object")
    return {
        "entrypoint": _words(settings, "Entrypoint"),
        "cmd": _words(settings, "Cmd"),
        "environment": _environment(settings),
        "working_dir": _text(settings, "WorkingDir") or "/",
        "user": _text(settings, "User"),
        "labels": _labels(settings),
        "config": image.config,
    }


def _words(settings: dict[str, Any], key: str) -> tuple[str, ...]:
    """Read a list of words or, as Docker before 1.10 wrote it, one word."""
    value = settings.get(key) or []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Fault(f"'{key}' in its config is no list of words")
    # Docker writes [""] for an entrypoint that was reset.
    return () if value == [""] and key == "Entrypoint" else tuple(value)


def _text(settings: dict[str, Any], key: str) -> str:
    value = settings.get(key) or ""
    if not isinstance(value, str):
        raise Fault(f"'{key}' in its config is no text")
    return value


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for pair in settings.get("Env") or []:
        if not isinstance(pair, str):
            raise Fault("'Env' in its config is no list of texts")
        name, _, value = pair.partition("=")
        environment[name] = value
    return environment


def _labels(settings: dict[str, Any]) -> dict[str, str]:
    labels = settings.get("Labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(x, str) for x in labels.values()):
        raise Fault("'Labels' in its config are no texts")
    return dict(labels)
