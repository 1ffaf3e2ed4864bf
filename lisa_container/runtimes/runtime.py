"""Container runtimes with the command line of the OCI: runc, crun and others."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lisa_container.container.result import CommandResult
from lisa_container.errors import RuntimeCommandError, RuntimeMachineError
from lisa_container.runtimes.bundle import OciBundle
from lisa_container.runtimes.looks import Looks
from lisa_container.runtimes.workspace import Workspace


@dataclass(frozen=True)
class ContainerState:
    """State of a container, as its runtime reports it.

    Attributes:
        id: name of the container.
        status: `creating`, `created`, `running`, `paused` or `stopped`.
        pid: process on the machine; 0 if there is none.
        bundle: folder of the bundle.
    """

    id: str
    status: str
    pid: int
    bundle: str

    @classmethod
    def parse(cls, state: dict[str, Any]) -> ContainerState:
        """Read what `state` or an entry of `list` has."""
        return cls(
            str(state["id"]), str(state["status"]), int(state.get("pid") or 0), str(state["bundle"])
        )


class OciRuntime:
    """Container runtime on the machine of a workspace.

    Args:
        workspace: The open workspace. Containers end with it.
        program: Name or path of the program on the machine, such as `runc` or `crun`.

    Raises:
        RuntimeMachineError: The machine has no such program.

    Attributes:
        workspace: The workspace.
        program: Path of the program on the machine.
        version: First line of `--version`.
    """

    def __init__(self, workspace: Workspace, program: str = "runc") -> None:
        """Look for the program."""
        self.workspace = workspace
        folder = f"{workspace.folder}/runtimes/{program.rpartition('/')[2]}"
        quoted, name = shlex.quote(folder), shlex.quote(program)
        script = f"""\
program=$(command -v {name}) || exit 127
mkdir -p {quoted}/state && echo "$program" >{quoted}/program && echo "$program" &&
    "$program" --version"""
        try:
            done = workspace.run(f"use runtime '{program}'", script)
        except RuntimeCommandError as error:
            raise RuntimeMachineError(
                f"'{workspace.machine.name}' has no runtime '{program}', or it does not work: "
                f"{error}. Install its package there; for a VM: "
                f"VmConfig(image=ImageConfig(packages=('{program}',)))"
            ) from error
        self.program, self.version = done.stdout.splitlines()[:2]
        self.folder = folder

    @property
    def name(self) -> str:
        """Name of the program."""
        return self.program.rpartition("/")[2]

    def command(self, *words: str) -> str:
        """Return a command line of the runtime, for the machine's `sh`.

        Args:
            words: Command of the runtime, and its arguments.
        """
        return shlex.join([self.program, "--root", f"{self.folder}/state", *words])

    def run(self, bundle: OciBundle, timeout: float | None = 600) -> CommandResult:
        """Run a container in the foreground, wait for its end and delete it.

        Args:
            bundle: Bundle, whose config says the command.
            timeout: Seconds that it may take; None means no limit.

        Returns:
            Output and exit code of the container's process. If the runtime itself failed, its
            message is in `stderr`.
        """
        command = self.command("run", "--bundle", bundle.path, bundle.name)
        return self.workspace.machine.run(command, timeout=timeout)

    def create(self, bundle: OciBundle) -> OciContainer:
        """Create a container, whose process waits for `start`.

        Args:
            bundle: Bundle.

        Raises:
            RuntimeCommandError: The runtime failed.
        """
        self.workspace.run(f"create container '{bundle.name}'", self.create_script(bundle))
        return OciContainer(self, bundle)

    def create_script(self, bundle: OciBundle) -> str:
        """Return the script that creates a container; its output is a file in the bundle.

        Args:
            bundle: Bundle.
        """
        output = shlex.quote(bundle.output)
        command = self.command("create", "--bundle", bundle.path, bundle.name)
        return f"{command} >{output} 2>&1 </dev/null || {{ c=$?; cat {output}; exit $c; }}"

    def list(self) -> list[ContainerState]:
        """Return the states of all containers of this workspace and runtime.

        Raises:
            RuntimeCommandError: The runtime failed.
        """
        done = self.workspace.run(
            f"list containers of {self.name}", self.command("list", "--format", "json")
        )
        return [ContainerState.parse(each) for each in json.loads(done.stdout) or ()]


class OciContainer:
    """Container of a runtime, for a `with` block, at the end of which it is deleted.

    Args:
        runtime: The runtime.
        bundle: The bundle, whose name is also the container's.

    Attributes:
        runtime: The runtime.
        bundle: The bundle.
    """

    def __init__(self, runtime: OciRuntime, bundle: OciBundle) -> None:
        """Take a container that exists."""
        self.runtime = runtime
        self.bundle = bundle

    def __enter__(self) -> OciContainer:
        """Return the container."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the container's processes and delete it, unless it was deleted already."""
        self.delete(force=True)

    @property
    def name(self) -> str:
        """Name of the container."""
        return self.bundle.name

    def start(self) -> None:
        """Start the container's command.

        Raises:
            RuntimeCommandError: The runtime failed.
        """
        self._do("start", self.name)

    def state(self) -> ContainerState:
        """Return the state of the container.

        Raises:
            RuntimeCommandError: There is no such container.
        """
        return ContainerState.parse(json.loads(self._do("state", self.name).stdout))

    def wait_for(self, status: str, seconds: float = 10.0) -> ContainerState:
        """Wait until the container has a status.

        Args:
            status: `created`, `running`, `paused` or `stopped`.
            seconds: Time limit in seconds.

        Raises:
            NodeStateError: The container has another status at the end.
        """
        looks = Looks(self.runtime.workspace.machine.name, seconds)
        while True:
            state = self.state()
            if state.status == status:
                return state
            looks.next(
                f"container '{self.name}' with status '{status}'", f"status '{state.status}'"
            )

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to the container's first process.

        Args:
            signal: Name of the signal, without `SIG`.

        Raises:
            RuntimeCommandError: The runtime failed, or the container does not run.
        """
        self._do("kill", self.name, signal)

    def delete(self, force: bool = False) -> None:
        """Delete the container.

        Args:
            force: Kill its processes first, and do nothing if there is no such container.

        Raises:
            RuntimeCommandError: The runtime failed, or the container still runs.
        """
        self._do("delete", *(["--force"] if force else []), self.name)

    def output(self) -> str:
        """Return the output of the container's process so far."""
        return self.runtime.workspace.machine.run(f"cat {shlex.quote(self.bundle.output)}").stdout

    def _do(self, verb: str, *words: str) -> CommandResult:
        what = f"{verb} container '{self.name}' by {self.runtime.name}"
        return self.runtime.workspace.run(what, self.runtime.command(verb, *words))
