"""pytest-testinfra's modules (File, Package, Service, Socket…) for containers.

    from lisa_container.testinfra import host

    assert host(container).file("/etc/passwd").mode == 0o644

They need the package pytest-testinfra: `pip install 'lisa-container[testinfra]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lisa_container.errors import ConfigError

if TYPE_CHECKING:
    from lisa_container.container.container import Container

try:
    from testinfra.backend.base import BaseBackend
    from testinfra.backend.base import CommandResult as HostResult
    from testinfra.host import Host
except ModuleNotFoundError as error:
    raise ConfigError(
        "lisa_container.testinfra needs the package pytest-testinfra: install it, for example by "
        "pip install 'lisa-container[testinfra]'"
    ) from error


class ContainerBackend(BaseBackend):  # type: ignore[misc]
    """Backend of testinfra whose commands run in a container, through its resident shell.

    Args:
        container: Running container.
    """

    NAME = "lisa_container"

    def __init__(self, container: Container) -> None:
        """Take the container; nothing runs in it yet."""
        super().__init__(container.name)
        self._container = container

    def run(self, command: str, *args: str, **kwargs: Any) -> HostResult:
        """Run a command of a module in the container; testinfra calls this.

        Args:
            command: Command line with `%s` for each argument.
            args: Arguments, which are quoted for the shell.
            kwargs: Options of other backends, which mean nothing here.
        """
        text = self.get_command(command, *args)
        result = self._container.run(text)
        code, out, err = result.exit_code, result.stdout_bytes, result.stderr_bytes
        return self.result(code, text.encode(errors="surrogateescape"), out, err)


def host(container: Container) -> Host:
    """Return testinfra's view of a container.

    Args:
        container: Running container.
    """
    backend = ContainerBackend(container)
    found = Host(backend)
    backend.set_host(found)
    return found
