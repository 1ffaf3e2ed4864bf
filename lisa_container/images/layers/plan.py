"""Planning a layer: from the user's mapping to all entries in their order.

A layer's archive must have every folder above its entries. An engine makes missing folders with a
mode of its own choice, which would replace the mode that the folder has in a layer below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Union

from lisa_container.config.checks import illegal
from lisa_container.errors import ConfigError
from lisa_container.images.layers.content import head_of, unreadable
from lisa_container.images.layers.entry import EntryKind, LayerEntry, wrong_content
from lisa_container.images.media import WHITEOUT
from lisa_container.images.platform import ELF_HEADER, ELF_MAGIC, elf_platform

Layer = Mapping[str, Union[bytes, Path, LayerEntry]]
"""Path in the image -> content of the file there, a file or folder of this machine, or an entry."""

_ROOT = "."

# Folders whose mode is not 755 on any system.
_FOLDER_MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700}
_PROGRAM_FOLDERS = {"bin", "sbin", "libexec"}
_DEVICE_MODE = 0o600

_LEGAL_PATH = "a path in the image, such as 'bin/tool', without '.' and '..'"


class Item(NamedTuple):
    """Entry with its path: relative to the image's root, without `./` in front."""

    path: str
    entry: LayerEntry


class Planner:
    """Planner for the layers of one image, from the lowest one up."""

    def __init__(self) -> None:
        """Begin below the first layer."""
        self._below: dict[str, LayerEntry] = {}
        self.platform = ""
        """Platform of the first ELF file so far, such as `linux/amd64`; empty without one."""

    def plan(self, number: int, layer: Layer) -> list[Item]:
        """Return the entries of the next layer.

        Args:
            number: index of the layer, for messages, from 0.
            layer: the user's mapping.

        Raises:
            ConfigError: a path or a content is wrong, or two entries contradict each other.
        """
        where = f"layers[{number}]"
        if not isinstance(layer, Mapping):
            raise illegal(where, layer, "a mapping of paths in the image to contents")
        given: dict[str, LayerEntry] = {}
        for name, value in layer.items():
            for path, entry in _expand(where, name, value):
                if path in given:
                    raise ConfigError(
                        f"{where}: '{path}' is given twice, the second time by {name!r}"
                    )
                given[path] = entry
        entries = self._add_folders(where, given)
        if not number:
            entries[_ROOT] = LayerEntry.folder()  # or else each engine chooses its mode
        entries = {path: self._set_mode(path, entry) for path, entry in entries.items()}
        for path, entry in entries.items():
            if entry.kind is EntryKind.HARD_LINK:
                entries[path] = _hard_link(where, path, entry, entries)
        items = [Item(path, entry) for path, entry in entries.items()]
        self._stack(items)
        return sorted(items, key=_order)

    def _add_folders(self, where: str, given: dict[str, LayerEntry]) -> dict[str, LayerEntry]:
        entries = dict(given)
        for path in given:
            for parent in _parents(path):
                above = entries.get(parent)
                if above is None:
                    above = self._below.get(parent, LayerEntry.folder())
                    entries[parent] = (
                        replace(above, kind=EntryKind.FOLDER) if above.is_folder else above
                    )
                if not above.is_folder:
                    origin = "of this layer" if parent in given else "of a layer below"
                    hint = f": use '{above.target}'" if above.target else ""
                    raise ConfigError(
                        f"{where}: '{path}' cannot be below '{parent}', which is a "
                        f"{above.kind.value} {origin}{hint}"
                    )
        return entries

    def _set_mode(self, path: str, entry: LayerEntry) -> LayerEntry:
        if entry.kind is EntryKind.FILE:
            head = head_of(entry.content, ELF_HEADER)
            self.platform = self.platform or elf_platform(head)
            return (
                entry
                if entry.mode is not None
                else replace(entry, mode=_file_mode(path, entry, head))
            )
        if entry.mode is not None:
            return entry
        if entry.is_folder:
            below = self._below.get(path)
            if entry.kind is EntryKind.OPAQUE and below is not None and below.is_folder:
                return replace(below, kind=EntryKind.OPAQUE)
            return replace(entry, mode=_FOLDER_MODES.get(path, 0o755))
        if entry.kind is EntryKind.SYMLINK:
            return replace(entry, mode=0o777)
        is_device = entry.kind in (EntryKind.CHARACTER, EntryKind.BLOCK)
        return replace(entry, mode=_DEVICE_MODE if is_device else 0o644)

    def _stack(self, items: list[Item]) -> None:
        """Put a layer on top of the layers below."""
        hiding = {
            path for path, entry in items if entry.kind is EntryKind.OPAQUE or not entry.is_folder
        }
        self._below = {
            path: entry for path, entry in self._below.items() if hiding.isdisjoint(_parents(path))
        }
        for path, entry in items:
            if entry.kind is EntryKind.WHITEOUT:
                self._below.pop(path, None)
            else:
                self._below[path] = entry


def _expand(where: str, name: Any, value: Any) -> Iterator[tuple[str, LayerEntry]]:
    """Yield the entries for one pair of a layer's mapping."""
    path = _path(where, name)
    field = f"{where}, '{path}'"
    if isinstance(value, (bytes, Path)):
        value = LayerEntry(value)
    if not isinstance(value, LayerEntry):
        raise wrong_content(field, value)
    if isinstance(value.content, Path) and value.content.is_dir():
        yield from _folder_tree(path, value.content, replace(value, content=b"", mode=None))
    else:
        if isinstance(value.content, Path) and not value.content.is_file():
            reason = (
                "is no plain file" if value.content.exists() else "does not exist on this machine"
            )
            raise ConfigError(f"{field}: '{value.content}' {reason}")
        yield path, value


def _folder_tree(path: str, local: Path, like: LayerEntry) -> Iterator[tuple[str, LayerEntry]]:
    """Yield a folder of this machine with its whole content.

    Owners and times are not taken over, so that the image is the same wherever it is made.
    """
    yield path, replace(like, kind=EntryKind.FOLDER)
    try:
        children = sorted(local.iterdir())
    except OSError as error:
        raise unreadable(local, error) from error
    for child in children:
        inside = f"{path}/{_part(child.name)}"
        if child.is_symlink():
            target = os.readlink(child)  # noqa: PTH115  # pathlib drops a slash at the end
            yield inside, replace(like, kind=EntryKind.SYMLINK, target=target)
        elif child.is_dir():
            yield from _folder_tree(inside, child, like)
        elif child.is_file():
            yield inside, replace(like, content=child)
        else:
            raise ConfigError(f"layers: '{child}' is neither a file, a folder nor a symbolic link")


def _path(where: str, name: Any) -> str:
    if not isinstance(name, str) or "\0" in name:
        raise illegal(f"{where}, path", name, _LEGAL_PATH)
    if name.endswith("/"):
        raise illegal(f"{where}, path", name, _LEGAL_PATH, "a folder is LayerEntry.folder()")
    parts = name.lstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise illegal(f"{where}, path", name, _LEGAL_PATH)
    return "/".join(_part(part) for part in parts)


def _part(name: str) -> str:
    if name.startswith(WHITEOUT):
        raise ConfigError(
            f"layers: the name '{name}' would hide a file. To hide one, give the file's own name "
            "and LayerEntry.whiteout() or .opaque()"
        )
    if len(os.fsencode(name)) > 255:  # NAME_MAX of Linux
        raise ConfigError(f"layers: a name has more than 255 bytes: '{name[:40]}…'")
    return name


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _file_mode(path: str, entry: LayerEntry, head: bytes) -> int:
    """Return 755 for a program (by its content, folder or mode on this machine), else 644."""
    folders = set(path.split("/")[:-1])
    is_program = head.startswith((b"#!", ELF_MAGIC)) or bool(folders & _PROGRAM_FOLDERS)
    if not is_program and isinstance(entry.content, Path):
        is_program = bool(entry.content.stat().st_mode & 0o100)
    return 0o755 if is_program else 0o644


def _hard_link(
    where: str, path: str, entry: LayerEntry, entries: Mapping[str, LayerEntry]
) -> LayerEntry:
    """Return the link with the attributes of its file.

    Engines apply the attributes of the last entry to both names.
    """
    target = _path(where, entry.target)
    found = entries.get(target)
    if found is None or found.kind is not EntryKind.FILE:
        raise ConfigError(
            f"{where}: '{path}' is a hard link to '{target}', which is no file of the same layer"
        )
    return replace(found, content=b"", kind=EntryKind.HARD_LINK, target=target)


def _order(item: Item) -> tuple[bool, list[str]]:
    """Sort folders before their content, and hard links behind their targets."""
    parts = [] if item.path == _ROOT else item.path.split("/")
    return item.entry.kind is EntryKind.HARD_LINK, parts
