"""pytest-testinfra's modules (File, Package, Service, Socket…) for containers and virtual machines.

    from lisa_container.testinfra import host

    assert host(container).file("/etc/passwd").mode == 0o644

They need the package pytest-testinfra: `pip install 'lisa-container[testinfra]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lisa_container.errors import ConfigError

if TYPE_CHECKING:
    from lisa_container.container.container import Container
    from lisa_container.microvm.session import VmSession

try:
    from testinfra.backend.base import BaseBackend
    from testinfra.backend.base import CommandResult as HostResult
    from testinfra.host import Host
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


def host(target: Container | VmSession) -> Host:
    """Return testinfra's view of a container or virtual machine.

    Args:
        target: Running container, or VM as the fixture `vm` gives it.
    """
    backend = RunBackend(target)
    found = Host(backend)
    backend.set_host(found)
    return found
