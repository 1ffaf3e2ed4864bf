"""Errors about images: pulling, pushing, building, shipping and archives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lisa_container.errors.base import ContainerError
from lisa_container.errors.nodes import EngineError
from lisa_container.escaping import find_cause, plain_lines


class ImageNotFoundError(EngineError):
    """The image could not be pulled, and perhaps is not on the node; subclasses name the cause.

    Args:
        image: Reference of the image.
        node: Name of the node.
        message: Message of the engine.
        is_push: Whether the node has the image, but could not push it to its registry.
        is_there: Whether the node has an image of this name, but could not pull it.
    """

    advice = (
        "Check the name and tag, the node's way to the registry, and 'pull_policy' ('always', "
        "'missing' or 'never')."
    )
    """Next step for the user."""

    def __init__(
        self, image: str, node: str, message: str, is_push: bool = False, is_there: bool = False
    ) -> None:
        """Build the error's message and keep the engine's."""
        self.message = message
        happened = f"is not available on node '{node}'"
        if is_push:
            happened = f"could not be pushed from node '{node}'"
        elif is_there:
            happened = f"is on node '{node}', but could not be pulled there again"
        super().__init__(f"image '{image}' {happened}: {message}. {self.advice}")


class ImageUnauthorizedError(ImageNotFoundError):
    """The registry asks for credentials, or refuses the given ones."""

    advice = (
        "Give the credentials of a user with access: pull_image takes a username and password; "
        "else the runbook ('lisa-container docs registries'), else 'docker login' on the node or "
        "on this machine. Some registries give this answer for an image that does not exist, too."
    )


class ImagePlatformError(ImageNotFoundError):
    """The registry has the image, but not for the requested platform."""

    advice = (
        "Name a platform that it has ('platform'; 'docker manifest inspect' lists them), pin the "
        "digest of that platform's own image, or have the image built for this one."
    )


class ImageRateLimitError(ImageNotFoundError):
    """The registry's rate limit is reached."""

    advice = (
        "Wait, give the credentials of an account with a higher limit, or take the image from "
        "another registry ('registry')."
    )


class RegistryUnreachableError(ImageNotFoundError):
    """The registry does not answer, or answers wrongly, in several tries."""

    advice = (
        "It is the node that must reach the registry: check its name resolution, routes, firewall "
        "and the engine's proxy, or the registry itself."
    )


class RegistryUntrustedError(ImageNotFoundError):
    """The engine does not trust the registry's certificate, or the registry has none."""

    advice = (
        "Name the registry's CA certificate in the runbook ('ca', see 'lisa-container docs "
        "registries'), put it on the node (for Docker /etc/docker/certs.d/<registry>/ca.crt), or "
        "have the engine take the registry without TLS ('insecure-registries')."
    )


class ImageLoadError(EngineError):
    """The engine refused the archive of an image.

    Args:
        image: Name of the image.
        node: Name of the node.
        message: Message of the engine.
    """

    def __init__(self, image: str, node: str, message: str) -> None:
        """Build the message."""
        super().__init__(f"the engine of node '{node}' could not load image '{image}': {message}")


class ImageNameTakenError(EngineError):
    """Another image, which this run did not bring to the node, has the name.

    Args:
        image: Name of the image.
        node: Name of the node.
    """

    def __init__(self, image: str, node: str) -> None:
        """Build the message."""
        super().__init__(
            f"the name '{image}' is that of another image on node '{node}', which this run has not "
            "brought there. Give another name (name=…), or have the name move and the new image "
            "stay when the run ends (keep=True)."
        )


class ImageBuildError(EngineError):
    """An image could not be built from its Dockerfile.

    Args:
        image: Name of the image.
        node: Name of the node.
        reason: Message of the engine.
        step: Step that failed, such as `3/7: RUN make`; empty if no step had begun.
        exit_code: Exit code of the step's command, if it had one.
        output: End of the step's output.
        log: Path of the file with the whole output.
    """

    def __init__(
        self,
        image: str,
        node: str,
        reason: str,
        step: str,
        exit_code: int | None,
        output: str,
        log: str,
    ) -> None:
        """Build the message and keep what it is built from."""
        self.step = step
        self.exit_code = exit_code
        self.output = output
        self.log = log
        where = f" in step {step}" if step else ""
        lines = plain_lines(output)
        cause = f" ({find_cause(lines)})" if lines else ""
        tail = " The end of its output:\n" + "\n".join(lines) + "\n" if lines else " "
        super().__init__(
            f"image '{image}' could not be built on node '{node}'{where}: {reason.strip()}{cause}."
            f"{tail}"
            f"All of it is in {log}."
        )


class ShipError(ContainerError):
    """An image did not reach all nodes.

    Args:
        image: Name of the image.
        failures: Name and error of each node that the image did not reach.
        shipped: Results for the other nodes, as `ship` returns them.
    """

    def __init__(
        self, image: str, failures: Sequence[tuple[str, BaseException]], shipped: Sequence[Any]
    ) -> None:
        """Build the message and keep failures and results."""
        self.failures = tuple(failures)
        self.shipped = tuple(shipped)
        reasons = "\n".join(f"node '{node}': {error}" for node, error in failures)
        super().__init__(
            f"image '{image}' did not reach {len(failures)} of {len(failures) + len(shipped)} "
            f"nodes: {reasons}\nThe others have it. Shipping it again sends only the layers that "
            "are still missing."
        )


class ImageArchiveError(ContainerError):
    """An image's archive cannot be made, read or extracted.

    Args:
        archive: Path or name of the archive.
        reason: Cause and remedy.
    """

    def __init__(self, archive: str, reason: str) -> None:
        """Build the message."""
        super().__init__(f"image archive '{archive}': {reason}")


class UnsafeArchiveError(ImageArchiveError):
    """An entry of an image's archive points outside the target folder; no file of it was kept.

    Args:
        archive: Path or name of the archive.
        reason: What is unsafe.
    """

    def __init__(self, archive: str, reason: str) -> None:
        """Build the message."""
        super().__init__(
            archive,
            f"{reason}. It was not extracted: no sound builder makes such an archive. Get the "
            "image anew from a source that you trust.",
        )


class ArchiveLimitError(ImageArchiveError):
    """An image's archive unpacks to more than a limit allows: a bomb, or a large image."""


class ExtractDeniedError(ImageArchiveError, PermissionError):
    """Only root can create one of the entries of an image's archive."""
