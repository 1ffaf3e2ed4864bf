"""User of an image, looked up in the image's own /etc/passwd and /etc/group."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lisa_container.errors import ConfigError

_MOST_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Do not wait for the writer of a pipe.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class User:
    """User of a container's process, by numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    """Further groups."""


def user_of(rootfs: Path, text: str) -> User:
    """Return the user that an image's config names.

    The image may be hostile: its symbolic links are not followed.

    Args:
        rootfs: Root file system of the image, on this machine.
        text: `name|uid[:group|gid]`; empty means root.

    Raises:
        ConfigError: The image has no such user or group.
    """
    name, _, group = text.partition(":")
    users, groups = _read(rootfs, "passwd"), _read(rootfs, "group")
    gid = 0
    more: tuple[int, ...] = ()
    if not name or name.isdecimal():
        uid = int(name or 0)
        known = [line for line in users if line[2:3] == [str(uid)]]
    else:
        known = [line for line in users if line[0] == name]
        if not known:
            raise ConfigError(
                f"user: given {text!r}; the image's /etc/passwd has no user {name!r}. Give a "
                "number, or another user"
            )
        uid = _number(known[0][2:3])
    if known:
        gid = _number(known[0][3:4])
        members = ((line, line[3].split(",")) for line in groups if len(line) > 3)
        more = tuple(_number(line[2:3]) for line, names in members if known[0][0] in names)
    if group:
        gid, more = _group(groups, group, text), ()
    return User(uid, gid, more)


def _group(groups: list[list[str]], group: str, text: str) -> int:
    if group.isdecimal():
        return int(group)
    for line in groups:
        if line[0] == group:
            return _number(line[2:3])
    raise ConfigError(
        f"user: given {text!r}; the image's /etc/group has no group {group!r}. Give a number, or "
        "another group"
    )


def _number(fields: list[str]) -> int:
    if fields and fields[0].isdecimal():
        return int(fields[0])
    raise ConfigError("user: the image's /etc/passwd or /etc/group is damaged: give a number")


def _read(rootfs: Path, name: str) -> list[list[str]]:
    """Return the fields of each line of a file in the image's /etc; none if there is no file."""
    root = os.open(rootfs, _FOLDER)
    try:
        etc = os.open("etc", _FOLDER, dir_fd=root)
        try:
            with open(os.open(name, _FILE, dir_fd=etc), "rb") as file:  # noqa: PTH123
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        finally:
            os.close(etc)
    except OSError:
        return []  # also a link, a folder, or a pipe without a writer
    finally:
        os.close(root)
    return [line.split(":") for line in text.splitlines()]
