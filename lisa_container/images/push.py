"""Pushing an image of a node to a registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.errors import ConfigError, EngineError
from lisa_container.images.credentials import Credential, find_credential
from lisa_container.images.failures import registry_failure
from lisa_container.images.names import digest_of, registry_of, repository_of, split
from lisa_container.images.transfer import transfer
from lisa_container.images.trust import is_insecure, trust_registry


def push_image(
    engine: Engine, reference: str, credential: Credential | None, timeout: float
) -> None:
    """Have the engine push an image.

    Args:
        engine: of the node.
        reference: full name with tag, which says the registry too.
        credential: for the registry; without one, as for `pull_image`.
        timeout: seconds without any progress.

    Raises:
        ConfigError: the name has a digest: the registry finds that out itself.
        ImageNotFoundError: it is not on the node, or the registry did not take it; its subclasses
            tell why, as for `pull_image`.
        EngineTimeoutError: there was no progress, several times.
    """
    if digest_of(reference):
        raise ConfigError(f"image: given '{reference}'; legal for a push: a name without a digest")
    with engine.errors(image=reference):
        engine.api.inspect_image(reference)
    engine.node.log.info(f"pushing image '{reference}' of node '{engine.name}'")
    (repository, tag), registry = split(reference), registry_of(reference)
    used: list[Credential | None] = []

    def lines(patience: float) -> Iterator[dict[str, Any]]:
        trust_registry(engine, reference)
        used[:] = [credential or find_credential(engine, repository_of(reference))]
        header = used[0].header(registry) if used[0] else None
        insecure = is_insecure(engine, registry)
        return engine.api.push_progress(repository, tag, header, patience, insecure)

    def failure(said: str) -> EngineError:
        return registry_failure(engine.name, reference, said, str(used[0] or ""), is_push=True)

    transfer(engine, f"pushing image '{reference}'", reference, lines, failure, timeout)
