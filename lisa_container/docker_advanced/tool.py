"""LISA tool `DockerAdvanced`: containers on a node through the engine's API."""

from __future__ import annotations

import builtins
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import docker
import requests
from lisa.util.process import ExecutableResult, Process

from lisa_container.config import ContainerTestConfig
from lisa_container.config.images import new_name
from lisa_container.container.command import RunningCommand
from lisa_container.container.copy import CopyLimits, copy_from, copy_to
from lisa_container.container.log import read_log
from lisa_container.container.one_shot import ContainerRun, run_in_new_container
from lisa_container.container.other import recorder_of
from lisa_container.container.place import ContainerPlace
from lisa_container.container.request import Command, CommandRequest
from lisa_container.docker_advanced.resources import ResourceTool
from lisa_container.engine.activity import Activity
from lisa_container.engine.http.api import is_timeout
from lisa_container.engine.labels import LEASE_LABEL, stage_label
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease_id import TAG
from lisa_container.engine.script import run_script
from lisa_container.engine.service import start_engine
from lisa_container.errors import (
    EngineError,
    WaitTimeoutError,
)
from lisa_container.images import ensure_image
from lisa_container.images.build.dockerfile import Dockerfile
from lisa_container.images.local.adopt import engine_command
from lisa_container.images.local.node_job import run_job

# Seconds a container has to end by itself before it is killed, docker-stop(1).
_STOP_TIMEOUT = 10

# Seconds that a build may take.
_BUILD_TIMEOUT = 3600.0
# Copies a Dockerfile with the edits of a script for sed, and the ignore files that belong to it.
_COPY = """
trap 'rm -rf {folder}' EXIT
trap 'exit 143' TERM
for each in {file}.*ignore; do
    [ ! -f "$each" ] || cp "$each" {folder}
done
sed {edits} {file} >{copy}
"""


class DockerAdvanced(ResourceTool):
    """LISA's `Docker` with the rest of what Docker offers, through the engine's API.

        docker = node.tools[DockerAdvanced]
        docker.run_in_container("debian:12", "uname -r").stdout

    Code that uses LISA's `Docker` works unchanged. No result is cached, stdout and stderr are kept
    apart, no argument passes through a shell of the node, and a failure raises an error that says
    what to do.
    """

    @property
    def client(self) -> docker.DockerClient:
        """Client of the Docker SDK over the node's connection, for what this class lacks."""
        return self.engine.client

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
            image: Image; pulled if the node does not have it.
            command: A string for the container's `sh -c`, or a sequence to run without a shell;
                None runs the image's own command. If the image has an entrypoint, a string is
                split into words and given to that, as `docker run` does.
            privileged: Grant all that the engine can grant.
            volumes: Path on the node to path in the container, with an optional `:ro`.
            environment: Environment variables.
            working_dir: Absolute path in the container.
            network_mode: `bridge`, `host`, `none`, `container:<name>` or a network's name.
            remove: Remove the container and its anonymous volumes when it ends.
            detach: Return at once, with the container's id as stdout and exit code 0.
            name: Name of the container; the engine's choice by default.
            timeout: Seconds until the container is killed; None means no limit.
            expected_exit_code: Raise AssertionError if the command ends with another one.
            options: Any other field of `ContainerTestConfig` (`memory`, `user`, `cap_add`, …).

        Returns:
            The result, with stdout and stderr apart. The exit code is 127 for a program that does
            not exist, 126 for one that cannot be executed and 137 for one that was killed;
            `oom_killed` tells whether the memory limit was the cause.

        Raises:
            ConfigError: A value is wrong; nothing was created.
            ImageNotFoundError, NameTakenError, EngineError: The engine refused.
            CommandNotStartedError: The command is a string for a shell, and the image has none.
            CommandTimeoutError: Time was up. The container is removed, whatever `remove` says.
            AssertionError: The exit code was not the expected one.
        """
        config = ContainerTestConfig(image=image).merged(
            privileged=privileged,
            volumes=volumes,
            environment=environment,
            working_dir=working_dir,
            network_mode=network_mode,
            **options,
        )
        return run_in_new_container(
            self.engine,
            config,
            command,
            name,
            remove=remove,
            detach=detach,
            timeout=timeout,
            expected_exit_code=expected_exit_code,
        )

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
        cwd: str | PurePath | None = None,
        update_envs: Mapping[str, str] | None = None,
    ) -> ExecutableResult:
        """Run a command in a running container, as `docker exec`.

        Args:
            container: Name or id of the container.
            command: A string for the container's `sh -c`, or a sequence to run without a shell.
            working_dir: Absolute path in the container.
            environment: Environment variables to add to the container's.
            user: `name`, `uid` or `uid:gid`.
            stdin: Text or bytes that the command reads.
            timeout: Seconds until the command's process group in the container is killed.
            expected_exit_code: Raise AssertionError if the command ends with another one.
            cwd: LISA's word for `working_dir`.
            update_envs: LISA's word for `environment`.

        Raises:
            ConfigError: One thing was given in LISA's word and in Docker's.
            ContainerDiedError: The container does not run.
            CommandTimeoutError: Time was up.
        """
        request = CommandRequest.of(
            command,
            cwd=cwd,
            working_dir=working_dir,
            update_envs=update_envs,
            environment=environment,
            user=user,
            stdin=stdin,
        )
        capture = recorder_of(self.engine, container)
        result = RunningCommand(
            ContainerPlace(self.engine, container), request, capture=capture
        ).wait(timeout)
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
        """Create a container without starting it; return its id.

        Args:
            image: Image; pulled if the node does not have it.
            command: See `run_in_container`.
            name: Name of the container; the engine's choice by default.
            options: Any other field of `ContainerTestConfig`.
        """
        config = ContainerTestConfig(image=image).merged(**options)
        return ContainerRun(self.engine, config, command, name).create()

    def start(self, container: str | None = None) -> None:
        """Start a container, or the engine, as LISA's `Docker.start` does.

        Args:
            container: Name or id; None starts the engine, unless it answers already.

        Raises:
            EngineNotFoundError: The engine did not start; the message has the end of its log.
        """
        if container is None:
            start_engine(self.node)
            return
        with self.engine.errors(container):
            self.engine.api.start(container)

    def stop(self, container: str, timeout: int = _STOP_TIMEOUT) -> None:
        """Stop a container: ask its process to end, and kill it after `timeout` seconds."""
        with self.engine.errors(container):
            self.engine.api.stop(container, timeout=timeout)

    def restart(self, container: str, timeout: int = _STOP_TIMEOUT) -> None:
        """Stop and start a container; see `stop` for `timeout` (seconds)."""
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
        """Continue a paused container."""
        with self.engine.errors(container):
            self.engine.api.unpause(container)

    def wait(self, container: str, timeout: float | None = None) -> int:
        """Wait until a container ends; return its exit code.

        Args:
            container: Name or id.
            timeout: Seconds; None means no limit.

        Raises:
            WaitTimeoutError: The container has not ended; it runs on.
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
            container_name: Name or id.
            force: True removes a running container, too. None behaves like LISA's `Docker`: a
                refusal of the engine is logged and not raised.

        Raises:
            EngineError: The container does not exist, or it runs and `force` is False.
        """
        try:
            with self.engine.errors(container_name):
                self.engine.api.remove_container(container_name, v=True, force=bool(force))
        except EngineError as error:
            if force is not None:
                raise
            self._let_pass(error)

    def logs(self, container: str, tail: int | None = None) -> str:
        """Return the output of a container's first process, stdout and stderr interleaved.

        Args:
            container: Name or id.
            tail: Number of lines at the end; all by default.

        Raises:
            LogLimitError: The log is larger than 512 MiB.
        """
        return read_log(self.engine, container, tail)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the engine's description of a container (Docker API, "inspect")."""
        with self.engine.errors(container):
            return dict(self.engine.api.inspect_container(container))

    def list(self, all: bool = False, **filters: Any) -> builtins.list[dict[str, Any]]:
        """Return containers of the node, as `docker ps`.

        Args:
            all: Include containers that do not run.
            filters: Filters of `docker ps --filter`: `name=…`, `label=…`, `status=…`.
        """
        with self.engine.errors():
            return [dict(x) for x in self.engine.api.containers(all=all, filters=filters or None)]

    def stats(self, container: str) -> dict[str, Any]:
        """Return one sample of a container's CPU, memory, network and I/O (Docker API, "stats")."""
        with self.engine.errors(container):
            return dict(self.engine.api.stats(container, stream=False))

    def copy_to(self, container: str, local: str | PurePath, target: str) -> None:
        """Copy a file or folder of this machine into a container; see `ContainerExecutor`."""
        copy_to(self.engine, container, Path(local), target)

    def copy_from(
        self,
        container: str,
        source: str,
        local: str | PurePath,
        *,
        max_bytes: int = CopyLimits.max_bytes,
        max_entries: int = CopyLimits.max_entries,
    ) -> None:
        """Copy a file or folder of a container to this machine; see `ContainerExecutor`."""
        limits = CopyLimits(max_bytes, max_entries)
        copy_from(self.engine, container, source, Path(local), limits)

    # --- methods of LISA's Docker ----------------------------------------------------------------

    def exec_command(self, container_name: str, command: str) -> str:
        """Run a command that is split as a shell splits words; return its stdout.

        Raises:
            AssertionError: The command failed. (LISA's method returns the output.)
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
        """Run a container, as LISA's `Docker.run_container`.

        The command is split as a shell splits words and does not pass through a shell of the node.

        Args:
            image_name: Image; pulled if the node does not have it.
            ephemeral: Remove the container when it ends.
            container_name: Name of the container.
            command: Command; the image's own by default.
            extra_args: Options of `docker run`; with them the docker command is used, as by LISA.
            expected_exit_code: Raise AssertionError if the command ends with another one.
        """
        if extra_args:
            config = ContainerTestConfig(image=image_name)
            if config.is_local_image:  # which the docker command could not get
                ensure_image(self.engine, config)
            extra_args = f"{_label_options(self.labels)} {extra_args}"
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
        """Build an image from a Dockerfile in the node's working path, as LISA's method.

        The image is removed at the end of the run, and so are the remains of an aborted build.

        Raises:
            AssertionError: The build failed; the message has its output. (LISA's method tries a
                failed build ten times.)
        """
        what = f"building image '{image_name}' on node '{self.engine.name}'"
        path = str(self.node.working_path)
        file = f"{path}/{dockerfile}"
        lease = Lease.of(self.engine)
        labels = lease.image_labels(str(new_name("name", image_name)))
        # The exported tag makes the build end with the lease.
        script = f"set -e; export {TAG}={shlex.quote(labels.get(LEASE_LABEL, ''))}\n"
        if LEASE_LABEL in labels:
            # Label each stage at its start, so that the images of an interrupted build have the
            # lease.
            content = run_script(self.node, f"cat {shlex.quote(file)}", sudo=True)
            label = stage_label(labels)
            edits = "".join(
                f"{number}a\\\n{label}\n" for number in Dockerfile(content.stdout_bytes).ends()
            )
            folder = lease.folder("/var/tmp")
            copy = f"{folder}/{PurePosixPath(dockerfile).name}"
            names = {"folder": folder, "file": file, "edits": edits, "copy": copy}
            script += _COPY.format(**{name: shlex.quote(each) for name, each in names.items()})
            file = copy
        options = ["-t", image_name, "--network", "host", "--force-rm", "-f", file, path]
        script += (
            f"{engine_command(self.engine)} build {_label_options(labels)} {shlex.join(options)}"
        )
        with Activity(what, self.node.log) as activity:
            output, code = run_job(self.engine, script, _BUILD_TIMEOUT, activity.add_output)
            if code is None:
                output += f"\nit took more than {_BUILD_TIMEOUT:g} s"
            if code != 0:
                raise AssertionError(f"{what} failed: {output}")
        lease.list_image(labels)

    def run_async(
        self, parameters: str = "", force_run: bool = True, *args: Any, **kwargs: Any
    ) -> Process:
        """Run the docker command itself, as LISA's method, without its cache of results."""
        return super().run_async(parameters, True, *args, **kwargs)

    # --- existence ------------------------------------------------------------------------------

    def _initialize(self, *args: Any, **kwargs: Any) -> None:
        super()._initialize(*args, **kwargs)
        # On the class, LISA's `Tool.create` makes the tool; on a tool, users of Docker expect
        # `create` to make a container. So the name is given to the object only.
        self.create = self.create_container  # type: ignore[assignment,method-assign]


def _label_options(labels: Mapping[str, str]) -> str:
    return shlex.join(f"--label={name}={value}" for name, value in labels.items())
