"""The LISA tool `DockerAdvanced`: containers on a node through the engine's API."""

from __future__ import annotations

import builtins
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import docker
import requests
from lisa.operating_system import CentOs, Redhat
from lisa.tools import Docker
from lisa.util.process import ExecutableResult, Process

from lisa_container.command import Command, RunningCommand
from lisa_container.config import ContainerTestConfig
from lisa_container.engine.api import is_timeout
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.tag import TAG
from lisa_container.engine.naming import node_name
from lisa_container.engine.service import enable_engine, install_podman, start_engine
from lisa_container.errors import (
    EngineError,
    EngineNotFoundError,
    SshLostError,
    WaitTimeoutError,
)
from lisa_container.images import ensure_image, pull_image, push_image
from lisa_container.images.credentials import Credential
from lisa_container.images.pull import TIMEOUT
from lisa_container.run import ContainerRun
from lisa_container.transfer import copy_from, copy_to

# Seconds a container has to end by itself before it is killed, docker-stop(1).
_STOP_TIMEOUT = 10

# For sed: a label after each FROM of a Dockerfile that is on one line.
_FROM = "s/^[[:space:]]*[Ff][Rr][Oo][Mm][[:space:]].*[^\\\\]$/&\\\n{label}/"


class DockerAdvanced(Docker):
    """LISA's `Docker`, and all else a user of Docker expects, through the engine's API.

        docker = node.tools[DockerAdvanced]
        docker.run_in_container("debian:12", "uname -r").stdout

    A `Docker` user can take it unchanged. Nothing is cached, stdout and stderr are apart, nothing
    is pasted into a shell's command line, and what fails raises an error that says what to do.
    """

    @property
    def command(self) -> str:
        """The engine's own command; only few methods need it."""
        return self.engine.kind

    @property
    def engine(self) -> Engine:
        """The node's engine: its kind, version and what it can grant."""
        return Engine.of(self.node)

    @property
    def client(self) -> docker.DockerClient:
        """The Docker SDK's own client, over the node's connection, for all not wrapped here."""
        return self.engine.client

    @property
    def labels(self) -> dict[str, str]:
        """The labels of this run's lease (docs/lease.md), for what is made by way of `client`: all
        that carries them goes when the run does."""
        return Lease.of(self.engine).labels()

    # --- running commands -----------------------------------------------------------------------

    def run_in_container(
        self,
        image: str,
        command: Command | None = None,
        privileged: bool = False,
        volumes: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        network_mode: str | None = None,
        remove: bool = True,
        detach: bool = False,
        name: str | None = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
        **options: Any,
    ) -> ExecutableResult:
        """Run a command in a new container, as `docker run`.

        Args:
            image: pulled if the node does not have it.
            command: a string for the container's `sh -c`, or a sequence run without any shell; None
                runs the image's own. For an image with an entrypoint a string is split into words,
                as `docker run` does, and given to that.
            privileged: as far as the engine can.
            volumes: host path to container path, with an optional `:ro`.
            environment: variables.
            working_dir: absolute path in the container.
            network_mode: `bridge`, `host`, `none`, `container:<name>` or a network's name.
            remove: remove the container when it ended (with its anonymous volumes).
            detach: return at once; stdout is then the container's id, exit code 0.
            name: of the container; the engine makes one up by default.
            timeout: seconds for the command; then the container is killed.
            expected_exit_code: fail unless the command ends with it.
            options: any other field of `ContainerTestConfig` (memory, user, cap_add, …).

        Returns:
            stdout and stderr apart, and the true exit code: 127 for a command that is not there,
            126 for one that cannot be executed, 137 for one that was killed; `oom_killed` tells
            whether that was for want of memory.

        Raises:
            ConfigError: a wrong value; nothing was created.
            ImageNotFoundError, NameTakenError, EngineError: the engine refused.
            CommandNotStartedError: the command is a string for a shell, and the image has none.
            CommandTimeoutError: time was up. The container is removed, whatever `remove` says.
            AssertionError: the exit code was not the expected one.
        """
        config = ContainerTestConfig(image=image).merged(
            privileged=privileged,
            volumes=volumes,
            environment=environment,
            working_dir=working_dir,
            network_mode=network_mode,
            **options,
        )
        run = ContainerRun(self.engine, config, command, name)
        result = run.detach(remove) if detach else run.wait(timeout, remove)
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code, f"in a container of '{image}'")
        return result

    def exec_in_container(
        self,
        container: str,
        command: Command,
        working_dir: str | None = None,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        stdin: bytes | str | None = None,
        timeout: float | None = 600,
        expected_exit_code: int | None = None,
    ) -> ExecutableResult:
        """Run a command in a running container, as `docker exec`.

        Args:
            container: name or id.
            command: a string for the container's `sh -c`, or a sequence run without any shell.
            working_dir: absolute path in the container.
            environment: variables, added to the container's.
            user: `name`, `uid` or `uid:gid`.
            stdin: what to feed it.
            timeout: seconds; then its process group in the container is killed.
            expected_exit_code: fail unless the command ends with it.

        Raises:
            ContainerDiedError: the container does not run.
            CommandTimeoutError: time was up.
        """
        running = RunningCommand(
            self.engine,
            container,
            command,
            cwd=working_dir or "",
            environment=environment,
            user=user,
            stdin=stdin,
        )
        result = running.wait(timeout)
        if expected_exit_code is not None:
            result.assert_exit_code(expected_exit_code)
        return result

    # --- containers -----------------------------------------------------------------------------

    def create_container(
        self,
        image: str,
        command: Command | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Create a container without starting it; its id. See `run_in_container` for arguments.

        On a tool of a node, `create` is the same.
        """
        config = ContainerTestConfig(image=image).merged(**options)
        return ContainerRun(self.engine, config, command, name).create()

    def start(self, container: str | None = None) -> None:
        """Start a container. Without one, start the engine, as LISA's `Docker.start` does.

        An engine that answers is left alone.

        Raises:
            EngineNotFoundError: the engine did not start; the end of its log is in the message.
        """
        if container is None:
            start_engine(self.node)
            return
        with self.engine.errors(container):
            self.engine.api.start(container)

    def stop(self, container: str, timeout: int = _STOP_TIMEOUT) -> None:
        """Stop a container: its process is asked to end, and killed after `timeout` seconds."""
        with self.engine.errors(container):
            self.engine.api.stop(container, timeout=timeout)

    def restart(self, container: str, timeout: int = _STOP_TIMEOUT) -> None:
        """Stop and start a container; `timeout` (seconds) as for `stop`."""
        with self.engine.errors(container):
            self.engine.api.restart(container, timeout=timeout)

    def kill(self, container: str, signal: str | int = "SIGKILL") -> None:
        """Send a signal to a container's first process."""
        with self.engine.errors(container):
            self.engine.api.kill(container, signal)

    def pause(self, container: str) -> None:
        """Freeze all processes of a container."""
        with self.engine.errors(container):
            self.engine.api.pause(container)

    def unpause(self, container: str) -> None:
        """Let a paused container go on."""
        with self.engine.errors(container):
            self.engine.api.unpause(container)

    def wait(self, container: str, timeout: float | None = None) -> int:
        """Wait until a container ends; its exit code.

        Args:
            container: name or id.
            timeout: seconds; none by default.

        Raises:
            WaitTimeoutError: it has not ended; nothing was done to it.
        """
        with self.engine.errors(container):
            try:
                return int(self.engine.api.wait(container, timeout=timeout)["StatusCode"])
            except requests.RequestException as error:
                if timeout is None or not is_timeout(error):
                    raise
                raise WaitTimeoutError(container, self.engine.name, timeout) from error

    def remove_container(self, container_name: str, force: bool | None = None) -> None:
        """Remove a container and its anonymous volumes.

        Args:
            container_name: name or id.
            force: also while it runs. Named neither True nor False, it is as with LISA's `Docker`:
                where the engine refuses, the reason is logged, and nothing is raised.

        Raises:
            EngineError: it is not there, or runs and is not to be forced.
        """
        try:
            with self.engine.errors(container_name):
                self.engine.api.remove_container(container_name, v=True, force=bool(force))
        except EngineError as error:
            if force is not None:
                raise
            self._let_pass(error)

    def logs(self, container: str, tail: int | None = None) -> str:
        """What a container's first process wrote, stdout and stderr as they came."""
        with self.engine.errors(container):
            data: bytes = self.engine.api.logs(container, tail="all" if tail is None else tail)
        return data.decode("utf-8", errors="replace")

    def inspect(self, container: str) -> dict[str, Any]:
        """All the engine knows of a container."""
        with self.engine.errors(container):
            return dict(self.engine.api.inspect_container(container))

    def list(self, all: bool = False, **filters: Any) -> builtins.list[dict[str, Any]]:
        """Containers of the node, as `docker ps`.

        Args:
            all: also those that do not run.
            filters: as `docker ps --filter`: `name=…`, `label=…`, `status=…`.
        """
        with self.engine.errors():
            return [dict(x) for x in self.engine.api.containers(all=all, filters=filters or None)]

    def stats(self, container: str) -> dict[str, Any]:
        """One sample of a container's CPU, memory, network and I/O use (Docker API, "stats")."""
        with self.engine.errors(container):
            return dict(self.engine.api.stats(container, stream=False))

    def copy_to(self, container: str, local: str | PurePath, target: str) -> None:
        """Copy a file or folder of this machine into a container; see `ContainerExecutor`."""
        copy_to(self.engine, container, Path(local), target)

    def copy_from(self, container: str, source: str, local: str | PurePath) -> None:
        """Copy a file or folder of a container to this machine; see `ContainerExecutor`."""
        copy_from(self.engine, container, source, Path(local))

    # --- images ---------------------------------------------------------------------------------

    def pull_image(  # type: ignore[override]  # a superset of LISA's, see below
        self,
        image: str,
        registry: str | int | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
        platform: str = "",
    ) -> None:
        """Pull an image.

        Args:
            image: its name.
            registry: `host[:port]`, where the name has none.
            username: for the registry. Without it the runbook's, the node's or this machine's
                credentials are used, see docs/registries.md.
            password: for the registry; it is sent to the engine in a header of the request.
            timeout: seconds without any progress.
            platform: `os/architecture[/variant]`; the node's own by default.

        Raises:
            ConfigError: a name the grammar does not allow.
            ImageNotFoundError: it could not be pulled; the message says why.
            EngineTimeoutError: there was no progress, several times.
        """
        if isinstance(registry, int):  # LISA's Docker has the timeout in this place
            timeout, registry = registry, None
        config = ContainerTestConfig(image=image, registry=registry or "", platform=platform)
        credential = _given(username, password)
        pull_image(self.engine, config.image_reference, credential, timeout, config.platform)

    def push_image(
        self,
        image: str,
        registry: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Push an image that the node has, by its own name.

        Args:
            image: its name, with the registry that gets it.
            registry: `host[:port]`, where the name has none.
            username: as for `pull_image`.
            password: as for `pull_image`.
            timeout: seconds without any progress.

        Raises:
            ConfigError: a name the grammar does not allow, or one with a digest.
            ImageNotFoundError: it is not on the node, or could not be pushed; the message says why.
            EngineTimeoutError: there was no progress, several times.
        """
        config = ContainerTestConfig(image=image, registry=registry or "")
        push_image(self.engine, config.image_reference, _given(username, password), timeout)

    def remove_image(self, image_name: str, force: bool | None = None) -> None:
        """Remove an image. LISA's callers may name several, with spaces between.

        Args:
            image_name: its name or id.
            force: also while a stopped container uses it. Named neither True nor False, it is as
                with LISA's `Docker`: where the engine refuses, the reason is logged, and nothing is
                raised.

        Raises:
            ImageNotFoundError: it is not there.
            EngineError: a container uses it.
        """
        for image in image_name.split():
            try:
                with self.engine.errors(image=image):
                    self.engine.api.remove_image(image, force=bool(force))
            except EngineError as error:
                if force is not None:
                    raise
                self._let_pass(error)

    def info(self) -> str:
        """What `docker info` prints.

        Raises:
            AssertionError: the docker command failed.
        """
        return self.run("info", sudo=True, expected_exit_code=0).stdout

    # --- networks and volumes -------------------------------------------------------------------

    def create_network(self, name: str, driver: str = "bridge", **options: Any) -> str:
        """Create a network; its id. Options are those of the SDK's `create_network`."""
        labels = {**options.pop("labels", {}), **self.labels}
        with self.engine.errors():
            created = self.engine.api.create_network(name, driver, labels=labels, **options)
        return str(created["Id"])

    def remove_network(self, name: str) -> None:
        """Remove a network no container is on."""
        with self.engine.errors():
            self.engine.api.remove_network(name)

    def list_networks(self) -> builtins.list[dict[str, Any]]:
        """The networks of the node."""
        with self.engine.errors():
            return [dict(network) for network in self.engine.api.networks()]

    def connect_network(self, network: str, container: str, **options: Any) -> None:
        """Put a container on a network. Options are those of the SDK."""
        with self.engine.errors(container):
            self.engine.api.connect_container_to_network(container, network, **options)

    def disconnect_network(self, network: str, container: str, force: bool = False) -> None:
        """Take a container off a network."""
        with self.engine.errors(container):
            self.engine.api.disconnect_container_from_network(container, network, force=force)

    def create_volume(self, name: str, **options: Any) -> str:
        """Create a volume; its name. Options are those of the SDK's `create_volume`."""
        labels = {**options.pop("labels", {}), **self.labels}
        with self.engine.errors():
            return str(self.engine.api.create_volume(name, labels=labels, **options)["Name"])

    def remove_volume(self, name: str, force: bool = False) -> None:
        """Remove a volume no container uses."""
        with self.engine.errors():
            self.engine.api.remove_volume(name, force=force)

    def list_volumes(self) -> builtins.list[dict[str, Any]]:
        """The volumes of the node."""
        with self.engine.errors():
            return [dict(volume) for volume in self.engine.api.volumes()["Volumes"] or []]

    # --- the promises of LISA's Docker ------------------------------------------------------------

    def exec_command(self, container_name: str, command: str) -> str:
        """As LISA's: run a command, split as a shell splits words; its stdout.

        Raises:
            AssertionError: it failed. (LISA's returns what there was.)
        """
        return self.exec_in_container(
            container_name, shlex.split(command), expected_exit_code=0
        ).stdout

    def run_container(
        self,
        image_name: str,
        ephemeral: bool = True,
        container_name: str | None = None,
        command: str | None = None,
        extra_args: str | None = None,
        expected_exit_code: int | None = 0,
    ) -> ExecutableResult:
        """As LISA's; see there.

        The command is split as a shell splits words, and no shell of the node sees it. With
        `extra_args`, which are words for the docker command, that is used, as LISA does.
        """
        if extra_args:
            config = ContainerTestConfig(image=image_name)
            if config.is_local_image:  # which the docker command could not get
                ensure_image(self.engine, config)
            extra_args = f"{self._label_options()} {extra_args}"
            return super().run_container(
                image_name, ephemeral, container_name, command, extra_args, expected_exit_code
            )
        return self.run_in_container(
            image_name,
            shlex.split(command) if command else None,
            name=container_name,
            remove=ephemeral,
            expected_exit_code=expected_exit_code,
        )

    def build_image(self, image_name: str, dockerfile: str) -> None:
        """As LISA's: build from a Dockerfile that lies in the node's working path.

        The image, and what a build that was cut short leaves, go when the run does.

        Raises:
            AssertionError: it failed; the build's output is in the message. (LISA's tries a failed
            build ten times.)
        """
        path = self.node.working_path
        file = shlex.quote(f"{path}/{dockerfile}")
        options = ["-t", image_name, "--network", "host", "--force-rm", "-f", "-", str(path)]
        lease = self.labels.get(LEASE_LABEL, "")
        # Each stage is labelled at its begin, for what is there when a build is cut short.
        edit = _FROM.format(label=f"LABEL {LEASE_LABEL}={lease}") if lease else ""
        script = (
            f"sed {shlex.quote(edit)} {file} | "
            f"{self.command} build {self._label_options()} {shlex.join(options)}"
        )
        # As a variable of the environment that the shell exports, the tag ends it with the lease.
        result = self.node.execute(script, shell=True, sudo=True, update_envs={TAG: lease})
        result.assert_exit_code(0, f"building image '{image_name}' failed", include_output=True)

    def run_async(
        self, parameters: str = "", force_run: bool = True, *args: Any, **kwargs: Any
    ) -> Process:
        """As LISA's, for the docker command itself, but never a result of an earlier run."""
        return super().run_async(parameters, True, *args, **kwargs)

    # --- existence ------------------------------------------------------------------------------

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        super()._initialize(*args, **kwargs)
        # On the class, LISA's `Tool.create` makes the tool; on a tool, users of Docker expect
        # `create` to make a container. So the name is given to the object only.
        self.create = self.create_container  # type: ignore[assignment,method-assign]

    def _check_exists(self) -> bool:
        """It exists if an engine answers; one that is installed but does not run is started."""
        try:
            start_engine(self.node)
            return True
        except EngineNotFoundError as error:
            self._log.debug(str(error))
            return False

    def _install(self) -> bool:
        try:
            if self._is_selinux_in_the_way():
                install_podman(self.node)
            else:
                super()._install()
        except EngineNotFoundError:
            raise  # installed, but it does not start
        except Exception as error:
            raise EngineNotFoundError(
                f"no container engine is on node '{node_name(self.node)}', and installing one "
                f"failed: {error}. Mend the node's package sources and its way to them, or install "
                "Docker or podman there by hand."
            ) from error
        start_engine(self.node)
        enable_engine(self.node)
        return True

    def _install_from_repo(self) -> None:
        # LISA's second way for Debian, after the distribution's own package could not be installed.
        first = sys.exc_info()[1]
        try:
            super()._install_from_repo()
        except Exception as error:
            raise EngineError(f"{first}. Then, from Docker's own packages: {error}") from error

    def _label_options(self) -> str:
        return shlex.join(f"--label={name}={value}" for name, value in self.labels.items())

    def _is_selinux_in_the_way(self) -> bool:
        """LISA's way of installing would switch SELinux off; podman runs under it."""
        os = self.node.os
        is_red_hat = isinstance(os, Redhat) and not isinstance(os, CentOs)
        return is_red_hat and os.information.version >= "8.0.0"

    def _let_pass(self, error: EngineError) -> None:
        """Log a refusal of the engine. That it (or the node) does not answer is no refusal."""
        if isinstance(error, (SshLostError, EngineNotFoundError)):
            raise error
        self._log.warning(str(error))


def _given(username: str | None, password: str | None) -> Credential | None:
    return Credential("the argument", username, password or "") if username else None
