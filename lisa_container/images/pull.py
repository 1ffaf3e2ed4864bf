"""Pulling an image onto a node."""

from __future__ import annotations

from typing import Any

import docker.auth
import docker.errors
import docker.utils
import requests
import urllib3.exceptions
from retry.api import retry_call

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineTimeoutError, RegistryUnreachableError, SshLostError
from lisa_container.images.failures import pull_failure

_TIMEOUTS = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
# How often it is tried, and how long (seconds) after the first failure; twice that after the next.
# The engine keeps the layers that it has.
_TRIES, _PAUSE = 3, 1.0


def pull_image(
    engine: Engine,
    reference: str,
    credential: dict[str, str] | None = None,
    timeout: float = 600,
) -> None:
    """Have the engine pull an image.

    Args:
        engine: of the node.
        reference: full name with tag or digest.
        credential: `{"username": …, "password": …}`; it goes to the engine in a header of the
            request, never onto a command line. Without one, what `docker login` on this machine
            has stored for the registry is used, as the docker command does.
        timeout: seconds without any progress; 600 by default, as LISA's Docker.

    Raises:
        ImageUnauthorizedError, ImageRateLimitError, RegistryUntrustedError: as they say.
        RegistryUnreachableError: it did not answer soundly, several times.
        ImageNotFoundError: it could not be pulled for another reason; the message says which.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: there was no progress.
    """
    engine.node.log.info(f"pulling image '{reference}' on node '{engine.name}'")
    repository, tag = docker.utils.parse_repository_tag(reference)
    header = _header(engine, repository, credential)

    def pull() -> None:
        with engine.errors(image=reference):
            try:
                for line in engine.api.pull_progress(repository, tag or "latest", header, timeout):
                    if "error" in line:
                        raise pull_failure(engine.name, reference, str(line["error"]))
            except docker.errors.APIError as error:
                raise pull_failure(
                    engine.name, reference, str(error.explanation or error)
                ) from error
            except _TIMEOUTS as error:
                what = f"get on with pulling image '{reference}'"
                raise EngineTimeoutError(engine.name, what, timeout) from error

    retry_call(
        pull,
        exceptions=(RegistryUnreachableError, SshLostError),
        tries=_TRIES,
        delay=_PAUSE,
        backoff=2,
        logger=engine.node.log,
    )


def _header(engine: Engine, repository: str, credential: dict[str, str] | None) -> Any:
    if credential:
        return docker.auth.encode_header(credential)
    registry, _ = docker.auth.resolve_repository_name(repository)
    try:
        return docker.auth.get_config_header(engine.api, registry)
    except docker.errors.DockerException as error:
        # A credential helper that is configured here but does not work; docker goes on as well.
        engine.node.log.debug(f"no stored credential for '{registry}': {error}")
        return None
