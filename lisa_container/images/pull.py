"""Pulling an image onto a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError, ImageNotFoundError, ImagePlatformError
from lisa_container.escaping import printable
from lisa_container.images.credentials import Credential, find_credential
from lisa_container.images.failures import registry_failure
from lisa_container.images.find import find_image, image_platform
from lisa_container.images.mirrors import mirrored
from lisa_container.images.platform import fits
from lisa_container.images.transfer import transfer
from lisa_container.images.trust import is_insecure, trust_registry
from lisa_container.masking import Plain

TIMEOUT = 600.0
"""Seconds without any progress, as in LISA's `Docker`."""

# Docker's own store (not containerd's) holds one platform's image of a list, and refuses a second.
_OTHER_PLATFORM = "Cannot overwrite digest"


def pull_image(
    engine: Engine,
    reference: ImageReference,
    credential: Credential | None = None,
    timeout: float = TIMEOUT,
    platform: str = "",
) -> ImageReference:
    """Have the engine pull an image, from the mirror that the run's settings name, if there is one.

    If the mirror lacks the image or does not answer, the image is pulled from its own registry.

    Args:
        engine: engine of the node.
        reference: name of the image.
        credential: for the registry in the name, never for a mirror. It goes to the engine in a
            header of the request, never on a command line. Default: see `find_credential`.
        timeout: seconds without any progress.
        platform: `os/architecture[/variant]`; the node's own by default.

    Returns:
        The name or id by which the engine knows the image.

    Raises:
        ImageUnauthorizedError, ImageRateLimitError, RegistryUntrustedError: the registry refused,
            or the engine does not trust it.
        ImagePlatformError: the registry has the image, but not for the platform.
        RegistryUnreachableError: the registry failed to answer several times.
        ImageNotFoundError: the image could not be pulled for another reason, which the message has.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: there was no progress, several times.
    """
    mirror, note = mirrored(reference), ""
    if mirror:
        try:
            was_there = find_image(engine, mirror) is not None
            _fetch(engine, mirror, None, timeout, platform)
            return _rename(engine, mirror, reference, platform, was_there)
        except ImageNotFoundError as error:
            note = f" (and its mirror: {error})"
            engine.node.log.warning(
                Plain(f"image '{reference}' cannot be pulled from its mirror: {printable(error)}")
            )
    try:
        _fetch(engine, reference, credential, timeout, platform)
    except ImageNotFoundError as error:
        is_there = find_image(engine, reference, platform) is not None
        if note or is_there:
            message = f"{error.message}{note}"
            kind = type(error)
            raise kind(str(reference), engine.name, message, is_there=is_there) from error
        raise
    return _check(engine, reference, reference, platform)


def _fetch(
    engine: Engine,
    reference: ImageReference,
    credential: Credential | None,
    timeout: float,
    platform: str,
) -> None:
    """Pull by exactly this name."""
    registry = reference.full.registry
    for_platform = f" for {platform}" if platform else ""
    engine.node.log.info(
        Plain(f"pulling image '{reference}'{for_platform} on node '{engine.name}'")
    )
    used: Credential | None = None

    def start(patience: float) -> Iterator[dict[str, Any]]:
        nonlocal used
        trust_registry(engine, reference)
        used = credential or find_credential(engine, reference)
        header = used.header(registry) if used else None
        if is_insecure(engine, registry):
            return engine.api.pull_insecurely(str(reference.for_engine), header, patience, platform)
        return engine.api.pull_progress(
            reference.name, reference.version, header, patience, platform
        )

    def failure(message: str) -> EngineError:
        if _OTHER_PLATFORM in message:
            message += ": the node has it for another platform, and its engine cannot hold both"
            return ImagePlatformError(str(reference), engine.name, message)
        return registry_failure(engine.name, reference, message, used)

    transfer(engine, f"pulling image '{reference}'", reference, start, failure, timeout)


def _rename(
    engine: Engine,
    mirror: ImageReference,
    reference: ImageReference,
    platform: str,
    keeps_name: bool,
) -> ImageReference:
    """Give an image from a mirror the name that was asked for, instead of the mirror's.

    An image pinned to a digest keeps the mirror's name: a digest cannot be given as a name.
    """
    known = _check(engine, mirror, reference, platform)
    engine.node.log.info(
        Plain(f"image '{reference}' on node '{engine.name}' is from mirror '{mirror}'")
    )
    if reference.digest:
        return known
    with engine.errors(image=str(reference)):
        engine.api.tag(str(known), reference.name, reference.tag)
        if not keeps_name:
            engine.api.remove_image(str(mirror), noprune=True)
    return reference


def _check(
    engine: Engine, pulled: ImageReference, reference: ImageReference, platform: str
) -> ImageReference:
    """Return the name by which the engine knows a pulled image, if it is what was asked for."""
    known = find_image(engine, pulled)
    if known is None:
        reason = "it was removed at once"
        if pulled.digest:
            reason = f"the pulled image does not have the digest {pulled.digest}"
        raise ImageNotFoundError(str(reference), engine.name, reason)
    if platform:
        given = image_platform(engine, known)
        if not fits(given, platform):
            reason = f"the registry gave an image for {given} when asked for {platform}"
            raise ImagePlatformError(str(reference), engine.name, reason)
    return known
