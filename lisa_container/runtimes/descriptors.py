"""Descriptor passing over unix sockets (SCM_RIGHTS) between a machine and its containers."""

from __future__ import annotations

import functools
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_container.errors import RuntimeMachineError
from lisa_container.escaping import quote_output
from lisa_container.images.ship.source import Image
from lisa_container.runtimes.bundle import OciBundle
from lisa_container.runtimes.runtime import OciRuntime
from lisa_container.runtimes.spec import BundleSettings, Mount, Network
from lisa_container.system import environment

TARGET = "/lisa-descriptors"
"""Folder of the program and its socket in the container."""

_SOURCE = Path(__file__).with_name("descriptors.c")
_PROGRAM, _SOCKET = "program", "socket"

# A container's user may be another than root.
_PREPARE = """\
mkdir -m 777 {folder} && ln {source} {program} || exit
{{ {make}
}} || exit
trap '
    code=$?
    {remove}
    exit $code' EXIT
"""
# Each side waits for the other; if the container cannot run, the other side is killed.
_SEND = """\
{program} send {socket} {files} &
other=$!
{run} || {{ code=$?; kill $other; exit $code; }}
wait $other
"""
_RECEIVE = """\
{program} receive {socket} {text} &
other=$!
{run} >{folder}/output 2>&1 || {{ code=$?; cat {folder}/output >&2; kill $other; exit $code; }}
wait $other
"""
# The runtime connects once, so that the socket must be there.
_CONSOLE = """\
{program} receive {socket} '' &
other=$!
until [ -S {socket} ]; do sleep 0.05; done
{run} || {{ code=$?; kill $other; exit $code; }}
wait $other
code=$?
{delete}
exit $code
"""


@dataclass(frozen=True)
class ReceivedDescriptor:
    """Open file as its receiver sees it.

    Attributes:
        type: `file`, `folder`, `character-device`, `pipe`, `socket` or `other`.
        device: number of its device, as `major:minor`.
        inode: number of its inode.
        access: `r`, `w` or `rw`.
        content: its content, at most 64 KiB.
    """

    type: str
    device: str
    inode: int
    access: str
    content: bytes


class DescriptorPassing:
    """Passing of open files between a machine and containers of a runtime.

    A small program, which a C compiler of this machine makes, runs on both sides. Any image of the
    machine's architecture will do.

    Args:
        runtime: The runtime.

    Raises:
        RuntimeMachineError: The program cannot be made, or not for this architecture.
    """

    def __init__(self, runtime: OciRuntime) -> None:
        """Bring the program to the machine."""
        self._runtime = runtime
        self._workspace = runtime.workspace
        self._program = f"{self._workspace.folder}/bin/descriptors"
        program = shlex.quote(self._program)
        # By another name first, since a container may run it.
        new = shlex.quote(f"{self._workspace.folder}/bin/{self._workspace.new_name('new')}")
        script = f"""\
[ $(uname -m) = {platform.machine()} ] && cat >{new} && chmod 755 {new} && mv {new} {program}"""
        what = f"place a program for {platform.machine()}"
        self._workspace.run(what, script, stdin=_compiled())

    def to_container(
        self, image: Image, files: Sequence[str], text: str = ""
    ) -> list[ReceivedDescriptor]:
        """Open files of the machine and pass them to a new container, which reads them.

        Args:
            image: Image of the container.
            files: Paths on the machine.
            text: Text that the container writes to each of them that is open for writing.

        Returns:
            The files as the container saw them.

        Raises:
            RuntimeCommandError: The runtime failed, or the descriptors did not arrive.
        """
        command = [f"{TARGET}/{_PROGRAM}", "receive", f"{TARGET}/{_SOCKET}", text]
        return self._pass("pass descriptors to a container", _SEND, image, command, files)

    def to_machine(
        self, image: Image, files: Sequence[str], text: str = ""
    ) -> list[ReceivedDescriptor]:
        """Have a new container open its files and pass them to the machine, which reads them.

        Args:
            image: Image of the container.
            files: Paths in the container.
            text: Text that the machine writes to each of them that is open for writing.

        Returns:
            The files as the machine saw them.

        Raises:
            RuntimeCommandError: The runtime failed, or the descriptors did not arrive.
        """
        command = [f"{TARGET}/{_PROGRAM}", "send", f"{TARGET}/{_SOCKET}", *files]
        what = "receive descriptors of a container"
        return self._pass(what, _RECEIVE, image, command, text=text)

    def console(self, image: Image, command: Sequence[str]) -> ReceivedDescriptor:
        """Run a container with a terminal, which the runtime passes over a console socket.

        Args:
            image: Image of the container.
            command: Command of the container.

        Returns:
            The terminal; its content is the output of the command.

        Raises:
            RuntimeCommandError: The runtime failed, or no descriptor arrived.
        """
        what = "receive the terminal of a container"
        (found,) = self._pass(what, _CONSOLE, image, command)
        return found

    def _pass(
        self,
        what: str,
        script: str,
        image: Image,
        command: Sequence[str],
        files: Sequence[str] = (),
        text: str = "",
    ) -> list[ReceivedDescriptor]:
        is_console = script is _CONSOLE

        def edit(spec: dict[str, Any]) -> None:
            spec["process"]["terminal"] = is_console

        folder = f"{self._workspace.folder}/bin/{self._workspace.new_name('passing')}"
        socket = f"{folder}/{_SOCKET}"
        settings = BundleSettings(command, {}, [Mount(folder, TARGET)], Network.NONE, False)
        rootfs = self._workspace.root_file_system(image)
        bundle = self._workspace.plan_bundle(rootfs, settings, "passing", edit)
        whole = (_PREPARE + script).format(
            source=shlex.quote(self._program),
            program=shlex.quote(f"{folder}/{_PROGRAM}"),
            make=bundle.make_script(),
            remove=bundle.remove_script(),
            socket=shlex.quote(socket),
            folder=shlex.quote(folder),
            files=shlex.join(files),
            text=shlex.quote(text),
            run=self._run_command(bundle, socket if is_console else ""),
            delete=self._runtime.command("delete", "--force", bundle.name),
        )
        return parse_descriptors(self._workspace.run(what, whole, bundle.config).stdout_bytes)

    def _run_command(self, bundle: OciBundle, console: str) -> str:
        options = ["--detach", "--console-socket", console] if console else []
        return self._runtime.command("run", *options, "--bundle", bundle.path, bundle.name)


def parse_descriptors(output: bytes) -> list[ReceivedDescriptor]:
    """Parse what the receiving program prints.

    Args:
        output: Output of `descriptors receive`.
    """
    found = []
    while output:
        line, _, output = output.partition(b"\n")
        kind, device, inode, access, size = line.decode().split(" ")
        content, output = output[: int(size)], output[int(size) + 1 :]
        found.append(ReceivedDescriptor(kind, device, int(inode), access, content))
    return found


@functools.lru_cache(maxsize=1)
def _compiled() -> bytes:
    """Return the program for this machine's architecture."""
    with tempfile.TemporaryDirectory(prefix="lisa-container-") as folder:
        target = Path(folder) / _PROGRAM
        command = ["cc", "-Os", "-static", "-o", str(target), str(_SOURCE)]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment(), timeout=120
            )
        except (OSError, subprocess.SubprocessError) as error:
            output = getattr(error, "stderr", None)
            reason = quote_output(output) if output else str(error)
            raise RuntimeMachineError(
                "the program that passes descriptors cannot be made on this machine: "
                f"{reason}. Install a C compiler (on Debian and Ubuntu: gcc and libc6-dev)"
            ) from error
        return target.read_bytes()
