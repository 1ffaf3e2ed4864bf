"""Every error a user of lisa_container can meet.

Each message names the thing that failed, the cause, and the next step, so that it can be read in a
LISA result without the log beside it. All of them are `lisa.util.LisaException`, as LISA's own are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lisa.util import LisaException


class ContainerError(LisaException):
    """Base of all errors raised by lisa_container."""


class ConfigError(ContainerError):
    """A value the user gave is wrong. Raised before anything is created on a node."""


class PlanError(ConfigError):
    """A plan's file is wrong. All its mistakes are told at once.

    Args:
        file: its path.
        mistakes: line (from 1; 0 is the file as a whole) and reason of each.
    """

    def __init__(self, file: str, mistakes: list[tuple[int, str]]) -> None:
        self.file = file
        self.mistakes = mistakes
        lines = (
            f"{file}, line {line}: {reason}" if line else f"{file}: {reason}"
            for line, reason in mistakes
        )
        super().__init__("\n".join(lines))


class EngineError(ContainerError):
    """The container engine of a node refused, failed or could not be reached."""


class EngineTimeoutError(EngineError, TimeoutError):
    """The container engine of a node did not answer in the time that was allowed.

    Args:
        node: the node's name.
        what: what was asked of it.
        seconds: how long was waited.
    """

    def __init__(self, node: str, what: str, seconds: float) -> None:
        super().__init__(
            f"the engine of node '{node}' did not {what} in {seconds:g} seconds: it hangs or is "
            "overloaded. Look at its log, and at the node's load."
        )


class EngineNotFoundError(EngineError):
    """No container engine answers on the node."""


class SshLostError(EngineError, ConnectionError):
    """The SSH connection to the node broke while it was needed.

    Args:
        node: the node's name or address.
        cause: what paramiko or the system said.
    """

    def __init__(self, node: str, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(
            f"the SSH connection to {node} was lost: {cause.__class__.__name__}: {cause}. A "
            "command that was running may still run on the node. Check that the node is up and "
            "reachable."
        )


class SudoError(EngineError):
    """sudo on the node refused.

    Args:
        reason: what sudo said.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"sudo on the node failed: {reason}. Give the node's user a password in the runbook "
            "('password:'), allow it sudo without one, or add it to the engine's group (docker)."
        )


class ImageNotFoundError(EngineError):
    """The image is not on the node and could not be had; those below say more exactly why.

    Args:
        image: the reference asked for.
        node: the node's name.
        said: what the engine said.
        is_push: it is there, but could not be pushed to its registry.
    """

    advice = (
        "Check the name and tag, the node's way to the registry, and 'pull_policy' ('always', "
        "'missing' or 'never')."
    )
    """What to do next."""

    def __init__(self, image: str, node: str, said: str, is_push: bool = False) -> None:
        self.said = said
        happened = (
            f"could not be pushed from node '{node}'"
            if is_push
            else f"is not on node '{node}' and could not be had"
        )
        super().__init__(f"image '{image}' {happened}: {said}. {self.advice}")


class ImageUnauthorizedError(ImageNotFoundError):
    """The registry wants to know who asks, or does not let him have the image."""

    advice = (
        "Give the credentials of somebody who may: pull_image takes a username and password; else "
        "the runbook (docs/registries.md), else 'docker login' on the node or on this machine. A "
        "registry may say the same of an image that is not there."
    )


class ImagePlatformError(ImageNotFoundError):
    """The registry has the image, but not for the platform that was asked for."""

    advice = (
        "Name a platform that it has ('platform'; 'docker manifest inspect' lists them), pin the "
        "digest of that platform's own image, or have the image built for this one."
    )


class ImageRateLimitError(ImageNotFoundError):
    """The registry gives no more for a while."""

    advice = (
        "Wait, give the credentials of an account with a higher limit, or take the image from "
        "another registry ('registry')."
    )


class RegistryUnreachableError(ImageNotFoundError):
    """The registry does not answer, or not soundly; tried several times."""

    advice = (
        "It is the node that must reach the registry: check its name resolution, routes, firewall "
        "and the engine's proxy, or the registry itself."
    )


class RegistryUntrustedError(ImageNotFoundError):
    """The engine does not trust the registry's certificate, or the registry has none."""

    advice = (
        "Name the registry's CA certificate in the runbook ('ca', docs/registries.md), put it on "
        "the node (for Docker /etc/docker/certs.d/<registry>/ca.crt), or have the engine take the "
        "registry without TLS ('insecure-registries')."
    )


class ImageLoadError(EngineError):
    """The engine refused the archive of an image.

    Args:
        image: its name.
        node: the node's name.
        said: what the engine said.
    """

    def __init__(self, image: str, node: str, said: str) -> None:
        super().__init__(f"the engine of node '{node}' could not load image '{image}': {said}")


class ImageNameTakenError(EngineError):
    """An image that is not this run's has the name that was to be given to another one.

    Args:
        image: the name.
        node: the node's name.
    """

    def __init__(self, image: str, node: str) -> None:
        super().__init__(
            f"the name '{image}' is that of another image on node '{node}', which this run has not "
            "brought there. Give another name (name=…), or have the name move and the new image "
            "stay when the run ends (keep=True)."
        )


class ImageBuildError(EngineError):
    """An image could not be built from its Dockerfile.

    Args:
        image: its name.
        node: the node's name.
        reason: what the engine said.
        step: that failed, such as `3/7: RUN make`; empty where none had begun.
        exit_code: of the step's command, where it had one.
        output: the end of what the step printed.
        log: path of the file with all that was printed.
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
        self.step = step
        self.exit_code = exit_code
        self.output = output
        self.log = log
        where = f" in step {step}" if step else ""
        tail = f" The end of its output:\n{output.strip()}\n" if output.strip() else " "
        super().__init__(
            f"image '{image}' could not be built on node '{node}'{where}: {reason.strip()}.{tail}"
            f"All of it is in {log}."
        )


class ShipError(ContainerError):
    """An image did not reach all nodes.

    Args:
        image: its name.
        failures: name and error of each node that it did not reach.
        shipped: what became of it on the other nodes, as `ship` returns it.
    """

    def __init__(
        self, image: str, failures: Sequence[tuple[str, Exception]], shipped: Sequence[Any]
    ) -> None:
        self.failures = tuple(failures)
        self.shipped = tuple(shipped)
        reasons = "\n".join(f"- node '{node}': {error}" for node, error in failures)
        super().__init__(
            f"image '{image}' did not reach {len(failures)} of {len(failures) + len(shipped)} "
            f"nodes:\n{reasons}\nThe others have it. Shipping it again sends only the layers that "
            "are still missing."
        )


class NameTakenError(EngineError):
    """A container of this name is on the node already.

    Args:
        container: the name.
        node: the node's name.
        said: what the engine said.
    """

    def __init__(self, container: str, node: str, said: str) -> None:
        super().__init__(
            f"the container name '{container}' is taken on node '{node}': {said} Choose another, "
            f"or remove that container: DockerAdvanced.remove_container('{container}', force=True)."
        )


class NoSpaceError(EngineError):
    """The node's disk is full.

    Args:
        node: the node's name.
        said: what the engine said.
    """

    def __init__(self, node: str, said: str) -> None:
        super().__init__(
            f"no space is left on node '{node}': {said}. Free some there, say with 'docker system "
            "df' and 'docker system prune', or give the node a larger disk."
        )


class ContainerDiedError(EngineError):
    """The container does not run (any more).

    Args:
        container: its name.
        node: the node's name.
        reason: exit code and what else is known.
        is_there: whether it still exists, and has logs.
    """

    def __init__(self, container: str, node: str, reason: str, is_there: bool = True) -> None:
        hint = (
            f"Its logs tell more: executor.logs(), or 'docker logs {container}' on the node."
            if is_there
            else "Its name may be wrong, or somebody has removed it meanwhile."
        )
        super().__init__(f"container '{container}' on node '{node}' does not run: {reason}. {hint}")


class CommandNotStartedError(ContainerError):
    """A command in a container could not even be started, and not because of the command itself.

    A program that is not there or may not be executed is no such error: that is exit code 127 or
    126, as a shell has it.

    Args:
        command: as given.
        container: its name.
        reason: what the engine said, and what to do about it.
    """

    def __init__(self, command: str, container: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"command '{command}' could not be started in container '{container}': {reason}"
        )


class CommandTimeoutError(ContainerError, TimeoutError):
    """A command in a container took longer than allowed; its processes were killed.

    Args:
        command: as given.
        timeout: seconds allowed.
        stdout: what it had printed so far.
        stderr: the same of stderr.
        survived: why it could not be killed, where that failed too.
    """

    def __init__(
        self, command: str, timeout: float, stdout: str, stderr: str, survived: str = ""
    ) -> None:
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr
        end = (
            f"could not be killed and may still run ({survived})"
            if survived
            else "was killed with its process group"
        )
        super().__init__(
            f"command '{command}' did not end in {timeout:g} seconds and {end}. "
            f"So far on stdout:\n{stdout}\non stderr:\n{stderr}"
        )


class WaitTimeoutError(ContainerError, TimeoutError):
    """A container did not end in the time that was allowed; nothing was done to it.

    Args:
        container: its name.
        node: the node's name.
        timeout: seconds allowed.
    """

    def __init__(self, container: str, node: str, timeout: float) -> None:
        super().__init__(
            f"container '{container}' on node '{node}' did not end in {timeout:g} seconds. It "
            f"still runs; DockerAdvanced.stop('{container}') or kill('{container}') ends it."
        )


class KillError(ContainerError):
    """A command in a container could not be signalled and may still run.

    Args:
        container: its name.
        number: the signal.
        reason: why not.
    """

    def __init__(self, container: str, number: int, reason: str) -> None:
        super().__init__(
            f"signal {number} did not reach a command in container '{container}': {reason}. It may "
            "still run; 'docker kill' of the container ends it."
        )


class CopyError(ContainerError):
    """A file could not be copied into or out of a container.

    Args:
        path: the path the trouble is about.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot copy '{path}': {reason}")


class CopyNotFoundError(CopyError, FileNotFoundError):
    """What was to be copied, or where to, is not there."""


class CopyDeniedError(CopyError, PermissionError):
    """A file may not be read, or may not be written."""


class ImageArchiveError(ContainerError):
    """An image's archive cannot be made, read or extracted.

    Args:
        archive: its path or name.
        reason: what is wrong with it, and what to do about it.
    """

    def __init__(self, archive: str, reason: str) -> None:
        super().__init__(f"image archive '{archive}': {reason}")


class UnsafeArchiveError(ImageArchiveError):
    """An image's archive has an entry that reaches outside of what it may write. Nothing of it was
    kept."""

    def __init__(self, archive: str, reason: str) -> None:
        super().__init__(
            archive,
            f"{reason}. It was not extracted: no sound builder makes such an archive. Get the "
            "image anew from a source that you trust.",
        )


class ArchiveLimitError(ImageArchiveError):
    """An image's archive unpacks to more than is allowed: it is a bomb, or a large image."""


class ExtractDeniedError(ImageArchiveError, PermissionError):
    """Something in an image's archive can only be made by root."""


class SnapshotError(ContainerError):
    """A snapshot of an output cannot be read, written or compared.

    Args:
        path: of the snapshot.
        reason: what is wrong with it, and what to do about it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"snapshot '{path}' {reason}")


# Says both ways, as a reader of a failed case knows at least one of them.
_UPDATE = (
    "run the case once with LISA_CONTAINER_UPDATE_SNAPSHOTS=1 in the environment (or the runbook's "
    "variable 'update_snapshots' true) and commit the file"
)


class SnapshotMissingError(SnapshotError, AssertionError):
    """There is no snapshot of this name to compare an output with.

    Args:
        name: of the snapshot.
        path: where it would be.
        output: normalised.
    """

    def __init__(self, name: str, path: str, output: str) -> None:
        super().__init__(
            path,
            f"is not there yet, so nothing says what the output '{name}' should be. If it is right "
            f"as it is below, {_UPDATE}. The output:\n{output}",
        )


class SnapshotMismatchError(SnapshotError, AssertionError):
    """An output is not what its snapshot says.

    Args:
        name: of the snapshot.
        path: where it is.
        difference: as a unified diff.
    """

    def __init__(self, name: str, path: str, difference: str) -> None:
        super().__init__(
            path,
            f"differs from the output '{name}'. If the output is right, {_UPDATE}; if it differs "
            f"at each run, a rule of normalisation is missing. The difference:\n{difference}",
        )


class ArtifactIndexError(ContainerError):
    """The index over all runs cannot be read or written.

    Args:
        path: of the index.
        reason: what is wrong with it, and what to do about it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"index '{path}': {reason}")


class SandboxError(ContainerError):
    """A sandbox, throw-away nodes on this very machine, could not be made, used or undone."""


class SandboxMachineError(SandboxError):
    """This machine cannot have a sandbox as it is; the message says what mends it."""


class InterruptedRunError(ContainerError):
    """The run was interrupted (Ctrl-C) while a command ran in a container; it was killed."""

    def __init__(self) -> None:
        super().__init__("the run was interrupted; the command was killed in its container")
