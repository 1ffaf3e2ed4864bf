"""pytest-testinfra's modules (File, Package, Service, Socket…) for containers and virtual machines.

    from lisa_container.testinfra import host

    assert host(container).file("/etc/passwd").mode == 0o644

They need the package pytest-testinfra: `pip install 'lisa-container[testinfra]'`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from lisa_container.errors import ConfigError

if TYPE_CHECKING:
    from lisa_container.container.container import Container
    from lisa_container.microvm.session import VmSession

try:
    from testinfra.backend.base import BaseBackend
    from testinfra.backend.base import CommandResult as HostResult
    from testinfra.host import Host
    from testinfra.modules.process import BusyboxProcess, Process, int_or_float
except ModuleNotFoundError as error:
    raise ConfigError(
        "lisa_container.testinfra needs the package pytest-testinfra: install it, for example by "
        "pip install 'lisa-container[testinfra]'"
    ) from error


class RunBackend(BaseBackend):  # type: ignore[misc]
    """Backend of testinfra whose commands run in a container or virtual machine by its `run`.

    Args:
        target: Running container or VM.
    """

    NAME = "lisa_container"

    def __init__(self, target: Container | VmSession) -> None:
        """Take the target; nothing runs in it yet."""
        super().__init__(target.name)
        self._target = target

    def run(self, command: str, *args: str, **kwargs: Any) -> HostResult:
        """Run a command of a module; testinfra calls this.

        Args:
            command: Command line with `%s` for each argument.
            args: Arguments, which are quoted for the shell.
            kwargs: Options of other backends, which mean nothing here.
        """
        text = self.get_command(command, *args)
        result = self._target.run(text)
        code, out, err = result.exit_code, result.stdout_bytes, result.stderr_bytes
        return self.result(code, text.encode(errors="surrogateescape"), out, err)


class SmallProcess(BusyboxProcess):  # type: ignore[misc]
    """Module `process` for any busybox.

    testinfra's own tells processes with one pid apart by the column `time` of `ps`, which many
    builds of busybox lack. This class reads their start in /proc. Attributes are the columns that
    the busybox has: `ps` names them in its error.
    """

    @classmethod
    def get_module_class(cls, host: Host) -> type[SmallProcess]:
        """Return this class."""
        return cls

    def _get_processes(self, **filters: Any) -> list[dict[str, Any]]:
        columns = [*sorted({"pid", "comm", *filters} - {"args", "lstart"}), "args"]
        begins = self._begins()
        found = []
        for line in self.check_output("ps -o %s", ",".join(columns)).splitlines()[1:]:
            values = line.split(None, len(columns) - 1)
            process = {name: int_or_float(value) for name, value in zip(columns, values)}
            process["lstart"] = begins.get(process["pid"], "")
            found.append({"args": "", **process})
        return found

    def _get_process_attribute_by_pid(self, pid: int, name: str) -> dict[str, Any]:
        begin = self._begins().get(pid, "")
        for line in self.check_output("ps -o pid,%s", name).splitlines()[1:]:
            number, _, value = line.strip().partition(" ")
            if int(number) == pid:
                return {"lstart": begin, name: int_or_float(value.strip())}
        return {"lstart": "", name: ""}

    def _begins(self) -> dict[int, str]:
        """Return when each process began, by its pid: the 22nd field of proc(5)'s stat."""
        lines = self.run("cat /proc/[0-9]*/stat 2>/dev/null").stdout.splitlines()
        stats = [line.rpartition(")") for line in lines if line[:1].isdigit()]
        return {int(name.split()[0]): rest.split()[19] for name, _, rest in stats if name}


class RunHost(Host):  # type: ignore[misc]
    """testinfra's view of a container or virtual machine."""

    @cached_property
    def process(self) -> Process:
        """Module `process`."""
        # testinfra looks only for a link to /bin/busybox.
        is_busybox = "BusyBox" in self.run("ps --help 2>&1").stdout
        return SmallProcess.get_module(self) if is_busybox else self.__getattr__("process")


def host(target: Container | VmSession) -> Host:
    """Return testinfra's view of a container or virtual machine.

    Args:
        target: Running container, or VM as the fixture `vm` gives it.
    """
    backend = RunBackend(target)
    found = RunHost(backend)
    backend.set_host(found)
    return found
