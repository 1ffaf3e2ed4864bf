"""Pulling an image onto a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageNotFoundError, ImagePlatformError
from lisa_container.images.credentials import Credential, find_credential
from lisa_container.images.failures import registry_failure
from lisa_container.images.find import find_image, image_platform
from lisa_container.images.mirrors import mirrored
from lisa_container.images.names import digest_of, registry_of, repository_of, split, without_tag
from lisa_container.images.platform import fits
from lisa_container.images.transfer import transfer
from lisa_container.images.trust import is_insecure, trust_registry

TIMEOUT = 600.0
"""Seconds without any progress, as LISA's Docker."""

# Of a list of images for several platforms, the store of Docker's own (not containerd's) has one.
_OTHER = "Cannot overwrite digest"


def pull_image(
    engine: Engine,
    reference: str,
    credential: Credential | None = None,
    timeout: float = TIMEOUT,
    platform: str = "",
) -> str:
    """Have the engine pull an image, from a mirror where the settings of the run name one for it.

    Where the mirror does not have it, or does not answer, the image is pulled by its own name.

    Args:
        engine: of the node.
        reference: full name with tag or digest.
        credential: for the registry that the name says; it goes to the engine in a header of the
            request, never onto a command line, and never to a mirror. Without one, that of the
            runbook, else what is stored on the node or here; see `find_credential`.
        timeout: seconds without any progress.
        platform: `os/architecture[/variant]`; the node's own by default.

    Returns:
        What the engine knows the image by: the reference, or an id.

    Raises:
        ImageUnauthorizedError, ImageRateLimitError, RegistryUntrustedError: as they say.
        ImagePlatformError: the registry has the image, but not for the platform.
        RegistryUnreachableError: it did not answer soundly, several times.
        ImageNotFoundError: it could not be pulled for another reason; the message says which.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: there was no progress, several times.
    """
    mirror, said = mirrored(reference), ""
    if mirror:
        try:
            was_there = bool(find_image(engine, mirror))
            _fetch(engine, mirror, None, timeout, platform)
            return _named(engine, mirror, reference, platform, was_there)
        except ImageNotFoundError as error:
            said = f" (and its mirror: {error})"
            engine.node.log.warning(f"image '{reference}' cannot be had of its mirror: {error}")
    try:
        _fetch(engine, reference, credential, timeout, platform)
    except ImageNotFoundError as error:
        if said:
            raise type(error)(reference, engine.name, f"{error.said}{said}") from error
        raise
    return _checked(engine, reference, reference, platform)


def _fetch(
    engine: Engine, reference: str, credential: Credential | None, timeout: float, platform: str
) -> None:
    """Pull by exactly this name."""
    repository, tag = split(reference)
    registry = registry_of(reference)
    for_platform = f" for {platform}" if platform else ""
    engine.node.log.info(f"pulling image '{reference}'{for_platform} on node '{engine.name}'")
    used: list[Credential | None] = []

    def lines(patience: float) -> Iterator[dict[str, Any]]:
        trust_registry(engine, reference)
        used[:] = [credential or find_credential(engine, repository_of(reference))]
        header = used[0].header(registry) if used[0] else None
        if is_insecure(engine, registry):
            name = without_tag(reference)
            return engine.api.pull_insecurely(name, header, patience, platform)
        return engine.api.pull_progress(repository, tag, header, patience, platform)

    def failure(said: str) -> EngineError:
        if _OTHER in said:
            said = f"{said}: the node has it for another platform, and its engine not for both"
            return ImagePlatformError(reference, engine.name, said)
        return registry_failure(engine.name, reference, said, str(used[0] or ""))

    transfer(engine, f"pulling image '{reference}'", reference, lines, failure, timeout)


def _named(engine: Engine, mirror: str, reference: str, platform: str, keeps_name: bool) -> str:
    """Give an image of a mirror the name that was asked for, and take that of the mirror from it.
    Not so a pinned one: no image can be given a digest as a name."""
    known = _checked(engine, mirror, reference, platform)
    engine.node.log.info(f"image '{reference}' on node '{engine.name}' is from mirror '{mirror}'")
    if digest_of(reference):
        return known
    repository, tag = split(reference)
    with engine.errors(image=reference):
        engine.api.tag(known, repository, tag)
        if not keeps_name:
            engine.api.remove_image(mirror, noprune=True)
    return reference


def _checked(engine: Engine, pulled: str, reference: str, platform: str) -> str:
    """What the engine knows a pulled image by; it is what was asked for."""
    known = find_image(engine, pulled)
    if not known:
        digest = digest_of(pulled)
        said = f"what was pulled has not the digest {digest}" if digest else "it has gone at once"
        raise ImageNotFoundError(reference, engine.name, said)
    if platform:
        found = image_platform(engine, known)
        if not fits(found, platform):
            said = f"the registry gave one for {found} when asked for {platform}"
            raise ImagePlatformError(reference, engine.name, said)
    return known
