"""What `extract_image` gives: the image's config, read as an engine reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_container.images.extract.faults import Fault
from lisa_container.images.extract.stored import StoredImage


@dataclass(frozen=True)
class ExtractedImage:
    """An image whose root file system was extracted.

    Args:
        rootfs: where it is.
        names: what the image is called in the archive; perhaps nothing.
        digest: of its manifest, `sha256:…`, as a registry calls it; of its config, where the
            archive is one of `docker save` and has no manifest.
        id: digest of its config, as an engine calls it.
        platform: `os/architecture[/variant]`.
        entrypoint: words in front of `cmd`.
        cmd: what is run, or the arguments of the entrypoint.
        environment: variables.
        working_dir: where commands start; `/` where the image does not say.
        user: as whom; empty is root.
        labels: of the image.
        layers: digests of the uncompressed layers, the lowest first.
        entries: how many the layers have together.
        bytes: how many the layers have together, uncompressed.
        skipped: what `skip_denied` left out, such as `owner 0:0 of 'bin/sh'`.
        config: the whole config of the image, as it is in the archive.
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
        """What a container of the image runs by itself: the entrypoint, and `cmd` behind it."""
        return self.entrypoint + self.cmd

    def command_for(
        self, args: Sequence[str] = (), entrypoint: Sequence[str] | str | None = None
    ) -> tuple[str, ...]:
        """What `docker run [--entrypoint E] IMAGE [ARGS…]` would run.

        Args:
            args: take the place of `cmd`.
            entrypoint: takes the place of the image's, and leaves out its `cmd`; an empty one
                leaves out both.
        """
        if entrypoint is None:
            return self.entrypoint + (tuple(args) or self.cmd)
        words = (entrypoint,) if isinstance(entrypoint, str) else tuple(entrypoint)
        return tuple(word for word in words if word) + tuple(args)


def settings_of(image: StoredImage) -> dict[str, Any]:
    """The fields of an `ExtractedImage` that the image's config tells.

    Raises:
        Fault: it tells something that is none.
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
    """A list of words or, as Docker before 1.10 wrote it, one word."""
    value = settings.get(key) or []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Fault(f"'{key}' in its config is no list of words")
    # [""] is how Docker writes one that was reset.
    return () if value == [""] and key == "Entrypoint" else tuple(value)


def _text(settings: dict[str, Any], key: str) -> str:
    value = settings.get(key) or ""
    if not isinstance(value, str):
        raise Fault(f"'{key}' in its config is no text")
    return value


def _environment(settings: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in settings.get("Env") or []:
        if not isinstance(pair, str):
            raise Fault("'Env' in its config is no list of texts")
        name, _, value = pair.partition("=")
        found[name] = value
    return found


def _labels(settings: dict[str, Any]) -> dict[str, str]:
    labels = settings.get("Labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(x, str) for x in labels.values()):
        raise Fault("'Labels' in its config are no texts")
    return dict(labels)
