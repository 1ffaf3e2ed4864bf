"""Rules for volumes, devices and tmpfs, in the forms of `docker run`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lisa_container.config.checks import FrozenDict, absolute_path, illegal, named, nearest, strings

HOST_ROOT = "/host"
"""Path in the container of the node's `/`, with `mount_host_root`."""

# rslave: later mounts of the node appear below HOST_ROOT, and mounts in the container stay there
# (https://docs.docker.com/engine/storage/bind-mounts/#configure-bind-propagation). The node's "/"
# must be a shared or slave mount, as systemd makes it.
HOST_ROOT_BIND = f"/:{HOST_ROOT}:rslave"

# At most one of each group (moby, volume/mounts/linux_parser.go).
_ACCESS = {"ro", "rw"}
_SELINUX = {"z", "Z"}
_PROPAGATION = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
_COPY = {"nocopy"}
_CONSISTENCY = {"consistent", "cached", "delegated"}
_GROUPS = (_ACCESS, _SELINUX, _PROPAGATION, _COPY, _CONSISTENCY)
_OPTIONS = sorted(set().union(*_GROUPS))

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_LEGAL_VOLUME = "absolute host path, or a volume's name, to absolute container path[:options]"
_LEGAL_SOURCE = (
    "an absolute host path without ':', or a volume's name of at least two of a-z A-Z 0-9 _ . -"
)
_LEGAL_TARGET = "an absolute container path other than '/', then perhaps ':ro' or other options"
_LEGAL_OPTIONS = (
    f"comma-separated {', '.join(_OPTIONS)}; at most one each of access, SELinux label, "
    "propagation (host paths only), nocopy (named volumes only) and consistency"
)

# moby, pkg/mount: options of `--tmpfs /path:`. "defaults" stands for none.
_TMPFS_KEYS = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
_TMPFS_FLAGS = {
    *("ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync"),
    *("atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime"),
    *("strictatime", "nostrictatime", "mand", "nomand", "remount", "defaults"),
    *_PROPAGATION,
}
_LEGAL_TMPFS = (
    "comma-separated "
    + ", ".join(f"{key}=…" for key in sorted(_TMPFS_KEYS))
    + f" and the flags {', '.join(sorted(_TMPFS_FLAGS))}"
)

_LEGAL_DEVICE = "'/dev/on_host[:/dev/in_container][:rwm]', each path absolute, of rwm one or more"


def _source(field: str, value: str) -> str:
    if value.startswith("/") and ":" not in value:
        return absolute_path(field, value, _LEGAL_SOURCE)
    if _VOLUME_NAME.fullmatch(value):
        return value
    hint = "'~' is not expanded, as the path is the node's" if value.startswith("~") else ""
    raise illegal(f"{field}, host path", value, _LEGAL_SOURCE, hint)


def swapped(source: str, target: str) -> str:
    """Return a hint that the two sides of a volume may be swapped."""
    return (
        "the left side is the path on the node, the right side the path in the container: if they "
        f"are swapped, write {{{target!r}: {source!r}}}"
    )


def _target(field: str, value: Any, legal: str, hint: str = "") -> str:
    path = absolute_path(field, value, legal)
    if path == "/":
        raise illegal(field, value, legal, hint)
    return path


def _check_options(field: str, options: str, source: str) -> None:
    words = options.split(",")
    for word in words:
        if word not in _OPTIONS:
            raise illegal(f"{field}, options", options, _LEGAL_OPTIONS, nearest(word, _OPTIONS))
    clash = any(len(group.intersection(words)) > 1 for group in _GROUPS)
    misplaced = _COPY if source.startswith("/") else _PROPAGATION
    if clash or len(set(words)) < len(words) or misplaced.intersection(words):
        raise illegal(f"{field}, options", options, _LEGAL_OPTIONS)


def volumes(field: str, value: Any) -> FrozenDict[str]:
    """Check volumes; return host path or volume name to "/in/container[:options]".

    The docker SDK's form, `{"/on/host": {"bind": "/in/container", "mode": "ro"}}`, is accepted.
    """
    result: dict[str, str] = {}
    for key, item in named(field, value, _LEGAL_VOLUME).items():
        source = _source(field, key)
        where = f"{field}, of {key!r}"
        if isinstance(item, Mapping):
            if not set(item) <= {"bind", "mode"} or "bind" not in item:
                raise illegal(where, dict(item), "the keys 'bind' (container path) and 'mode'")
            item = ":".join(str(part) for part in (item["bind"], item.get("mode")) if part)
        path, colon, options = item.partition(":") if isinstance(item, str) else (item, "", "")
        path = _target(where, path, _LEGAL_TARGET, swapped(source, "/"))
        if colon:
            _check_options(where, options, source)
        if source in result:
            raise illegal(field, key, f"each host path once; {source!r} is given twice")
        result[source] = f"{path}{colon}{options}"
    return FrozenDict(result, field)


def targets(volumes: Mapping[str, str]) -> list[str]:
    """Return the container paths of checked volumes."""
    return [item.partition(":")[0] for item in volumes.values()]


def tmpfs(field: str, value: Any) -> FrozenDict[str]:
    """Check tmpfs mounts; return container path to mount options, which may be ""."""
    result: dict[str, str] = {}
    for key, item in named(field, value, "absolute container path to mount options").items():
        path = _target(f"{field}, path", key, "an absolute container path other than '/'")
        options = "" if item is None else item
        where = f"{field}, options of {key!r}"
        if not isinstance(options, str):
            raise illegal(where, item, _LEGAL_TMPFS)
        for word in options.split(",") if options else []:
            name, equals, setting = word.partition("=")
            known = (name in _TMPFS_KEYS and setting) if equals else name in _TMPFS_FLAGS
            if not known:
                hint = nearest(name, [*_TMPFS_KEYS, *_TMPFS_FLAGS])
                raise illegal(where, item, _LEGAL_TMPFS, hint)
        if path in result:
            raise illegal(field, key, f"each path once; {path!r} is given twice")
        result[path] = options
    return FrozenDict(result, field)


def devices(field: str, value: Any) -> tuple[str, ...]:
    """Check devices; return each as "/dev/on_host:/dev/in_container:rwm"."""
    result: list[str] = []
    for item in strings(field, value, _LEGAL_DEVICE):
        on_host, *rest = item.split(":")
        in_container = rest.pop(0) if rest and rest[0].startswith("/") else on_host
        access = rest.pop(0) if rest else "rwm"
        letters = set(access)
        if rest or not letters or letters - set("rwm") or len(letters) < len(access):
            raise illegal(field, item, _LEGAL_DEVICE)
        paths = [absolute_path(field, path, _LEGAL_DEVICE) for path in (on_host, in_container)]
        result.append(":".join([*paths, access]))
    return tuple(result)


def binds(volumes: Mapping[str, str], mount_host_root: bool) -> tuple[str, ...]:
    """Return the volumes and the host's root as `Binds` of the engine's API."""
    host_root = (HOST_ROOT_BIND,) if mount_host_root else ()
    return (*host_root, *(f"{source}:{item}" for source, item in volumes.items()))


def check_together(volumes: Mapping[str, str], tmpfs: Iterable[str], mount_host_root: bool) -> None:
    """Refuse two mounts at one path, which the engine would refuse only at creation."""
    seen: dict[str, str] = {}
    for field, paths in (("volumes", targets(volumes)), ("tmpfs", tmpfs)):
        for path in paths:
            if mount_host_root and (path == HOST_ROOT or path.startswith(f"{HOST_ROOT}/")):
                legal = f"container paths outside {HOST_ROOT}, which mount_host_root fills"
                raise illegal(field, path, legal)
            if path in seen:
                raise illegal(
                    field, path, f"one mount per container path; {seen[path]} also has this path"
                )
            seen[path] = field
