"""Reading the JSON of manifests, indexes and configs, which may be hostile."""

from __future__ import annotations

import json
import re
from typing import Any

from lisa_container.images.extract.faults import Fault
from lisa_container.images.media import BLOBS

_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64}|[0-9a-f]{128})")
_DIGITS = {"sha256": 64, "sha512": 128}


def parse_json(content: bytes, what: str) -> Any:
    """Parse JSON.

    Args:
        content: text in UTF-8.
        what: name of the content, for messages.

    Raises:
        Fault: the content is no JSON.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Fault(f"{what} is no JSON: {error}") from error


def as_object(value: Any, what: str) -> dict[str, Any]:
    """Return the value if it is an object, or else raise Fault; `what` names it in the message."""
    if not isinstance(value, dict):
        raise Fault(f"{what}: a {type(value).__name__} instead of an object")
    return value


def list_in(owner: dict[str, Any], key: str) -> list[Any]:
    """Return the list at an object's key, or raise Fault."""
    value = owner.get(key)
    if not isinstance(value, list):
        raise Fault(f"'{key}': a {type(value).__name__} instead of a list")
    return value


def text_in(owner: dict[str, Any], key: str) -> str:
    """Return the string at an object's key, or raise Fault."""
    value = owner.get(key)
    if not isinstance(value, str):
        raise Fault(f"'{key}': a {type(value).__name__} instead of a text")
    return value


def size_in(described: dict[str, Any]) -> int:
    """Return the size in bytes from a descriptor, or raise Fault."""
    value = described.get("size")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Fault("'size' of a blob is no number of bytes")
    return value


def blob_name(digest: str) -> str:
    """Return the path of a blob in an OCI layout, or raise Fault if the digest is malformed."""
    match = _DIGEST.fullmatch(digest)
    if match is None or len(match[2]) != _DIGITS[match[1]]:
        raise Fault(f"given digest '{digest[:80]}'; legal: sha256 or sha512 and its digits")
    return f"{BLOBS}/{match[1]}/{match[2]}"


def diff_ids(config: dict[str, Any], layers: int) -> list[str]:
    """Return the digests of the uncompressed layers from a config.

    Args:
        config: the parsed config.
        layers: number of layers in the manifest.

    Raises:
        Fault: the digests are malformed, or their number differs.
    """
    rootfs = as_object(config.get("rootfs"), "rootfs of a config")
    diff_ids = list_in(rootfs, "diff_ids")
    if len(diff_ids) != layers:
        raise Fault(f"its config has {len(diff_ids)} layers, its manifest has {layers}")
    for diff_id in diff_ids:
        if not isinstance(diff_id, str):
            raise Fault("its config has a layer's digest that is no text")
        blob_name(diff_id)
    return diff_ids
