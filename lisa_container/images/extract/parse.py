"""The JSON of manifests, indexes and configs, written by strangers."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from lisa_container.images.extract.faults import Fault
from lisa_container.images.media import BLOBS

_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64}|[0-9a-f]{128})")
_DIGITS = {"sha256": 64, "sha512": 128}


def parsed(content: bytes, what: str) -> Any:
    """The value that is written there in JSON.

    Args:
        content: UTF-8.
        what: it is, for messages.

    Raises:
        Fault: it is none.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Fault(f"{what} is no JSON: {error}") from error


def as_object(value: Any, what: str) -> dict[str, Any]:
    """The value, which must be an object, else Fault; `what` is for its message."""
    if not isinstance(value, dict):
        raise Fault(f"{what}: a {type(value).__name__} instead of an object")
    return value


def list_in(owner: dict[str, Any], key: str) -> list[Any]:
    """The list of an object's key; else Fault."""
    value = owner.get(key)
    if not isinstance(value, list):
        raise Fault(f"'{key}': a {type(value).__name__} instead of a list")
    return value


def text_in(owner: dict[str, Any], key: str) -> str:
    """The text of an object's key; else Fault."""
    value = owner.get(key)
    if not isinstance(value, str):
        raise Fault(f"'{key}': a {type(value).__name__} instead of a text")
    return value


def size_in(described: dict[str, Any]) -> int:
    """The size that a descriptor tells, in bytes; else Fault."""
    value = described.get("size")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Fault("'size' of a blob is no number of bytes")
    return value


def blob_name(digest: str) -> str:
    """The path in a layout of the blob of a digest; Fault where that is none."""
    match = _DIGEST.fullmatch(digest)
    if match is None or len(match[2]) != _DIGITS[match[1]]:
        raise Fault(f"given digest '{digest[:80]}'; legal: sha256 or sha512 and its digits")
    return f"{BLOBS}/{match[1]}/{match[2]}"


def digest_of(content: bytes, like: str) -> str:
    """The digest of some bytes.

    Args:
        content: the bytes.
        like: a digest of the same algorithm.
    """
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def diff_ids(config: dict[str, Any], layers: int) -> list[str]:
    """The digests of the uncompressed layers, as a config tells them.

    Args:
        config: parsed.
        layers: how many the manifest has.

    Raises:
        Fault: they do not fit.
    """
    rootfs = as_object(config.get("rootfs"), "rootfs of a config")
    diff_ids = list_in(rootfs, "diff_ids")
    if len(diff_ids) != layers:
        raise Fault(f"its config tells of {len(diff_ids)} layers, its manifest of {layers}")
    for diff_id in diff_ids:
        if not isinstance(diff_id, str):
            raise Fault("its config has a layer's digest that is no text")
        blob_name(diff_id)
    return diff_ids
