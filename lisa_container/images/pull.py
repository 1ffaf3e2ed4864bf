"""Pulling an image onto a node."""

from __future__ import annotations

from typing import Any

import docker.auth
import docker.errors
import docker.utils
import requests
import urllib3.exceptions

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineTimeoutError, ImageNotFoundError, NoSpaceError

# Words of registries and engines that want to know who asks, or do not let him.
_DENIED = ("unauthorized", "authentication required", "no basic auth", "denied")
_TIMEOUTS = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)


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
        ImageNotFoundError: it could not be pulled; the message says why.
        NoSpaceError: the node's disk is full.
        EngineTimeoutError: there was no progress.
    """
    engine.node.log.info(f"pulling image '{reference}' on node '{engine.name}'")
    repository, tag = docker.utils.parse_repository_tag(reference)
    header = _header(engine, repository, credential)
    with engine.errors(image=reference):
        try:
            for line in engine.api.pull_progress(repository, tag or "latest", header, timeout):
                if "error" in line:
                    raise _failure(engine, reference, str(line["error"]))
        except docker.errors.APIError as error:
            raise _failure(engine, reference, str(error.explanation or error)) from error
        except _TIMEOUTS as error:
            what = f"get on with pulling image '{reference}'"
            raise EngineTimeoutError(engine.name, what, timeout) from error


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


def _failure(engine: Engine, reference: str, said: str) -> Exception:
    if "no space left" in said:
        return NoSpaceError(engine.name, said)
    if any(words in said.lower() for words in _DENIED):
        said += " (pull_image takes a username and password; else 'docker login' on this machine)"
    return ImageNotFoundError(reference, engine.name, said)
