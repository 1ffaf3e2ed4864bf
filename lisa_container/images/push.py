"""Pushing an image of a node to a registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, EngineError
from lisa_container.images.credentials import Credential, find_credential
from lisa_container.images.failures import registry_failure
from lisa_container.images.transfer import transfer
from lisa_container.images.trust import is_insecure, trust_registry
from lisa_container.masking import Plain


def push_image(
    engine: Engine, reference: ImageReference, credential: Credential | None, timeout: float
) -> None:
    """Have the engine push an image.

    Args:
        engine: engine of the node.
        reference: name with tag, and with the registry to push to.
        credential: for the registry; see `pull_image`.
        timeout: seconds without any progress.

    Raises:
        ConfigError: the name has a digest, which the registry computes itself.
        ImageNotFoundError: the image is not on the node, or the registry refused it; the subclasses
            tell why, as for `pull_image`.
        EngineTimeoutError: there was no progress, several times.
    """
    if reference.digest:
        raise ConfigError(f"image: given '{reference}'; legal for a push: a name without a digest")
    with engine.errors(image=str(reference)):
        engine.api.inspect_image(str(reference))
    engine.node.log.info(Plain(f"pushing image '{reference}' of node '{engine.name}'"))
    registry = reference.full.registry
    used: Credential | None = None

    def start(patience: float) -> Iterator[dict[str, Any]]:
        nonlocal used
        trust_registry(engine, reference)
        used = credential or find_credential(engine, reference)
        header = used.header(registry) if used else None
        insecure = is_insecure(engine, registry)
        return engine.api.push_progress(
            reference.name, reference.version, header, patience, insecure
        )

    def failure(message: str) -> EngineError:
        return registry_failure(engine.name, reference, message, used, is_push=True)

    transfer(engine, f"pushing image '{reference}'", reference, start, failure, timeout)
