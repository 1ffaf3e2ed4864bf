"""Installation of a node's engine with LISA's tools for its distribution."""

from __future__ import annotations

import sys

from lisa.node import Node
from lisa.operating_system import CentOs, Redhat
from lisa.tools import Docker
from lisa.util.shell import SshShell

from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine, installation_lock
from lisa_container.engine.service import enable_engine, install_podman, start_engine
from lisa_container.engine.ssh import read_command, transport_of
from lisa_container.errors import (
    EngineError,
    EngineMissingError,
    EngineNotFoundError,
    NoSpaceError,
)
from lisa_container.escaping import quote_output, says_disk_is_full
from lisa_container.naming import node_name

# Last line of the newest log of a package manager, if it was written within the last minute.
_INSTALLER_SAYS = (
    "find /var/log/dpkg.log /var/log/dnf.log /var/log/yum.log /var/log/zypper.log "
    "/var/log/zypp/history -mmin -1 2>/dev/null | xargs -r tail -q -n 1"
)


def ensure_engine(node: Node) -> Engine:
    """Return the engine of a node; start or install the engine first where it is missing.

    Raises:
        EngineNotFoundError: No engine is on the node and none can be installed or started.
        SudoError: The node's user may neither reach nor start the engine.
    """
    # LISA makes a tool twice where two threads ask for it at once.
    with installation_lock(node):
        return node.tools[EngineTool].engine


class EngineTool(Docker):
    """A node's container engine as a LISA tool: started or installed at the first use."""

    @property
    def command(self) -> str:
        """Name of the engine's command, `docker` or `podman`."""
        return self.engine.kind

    @property
    def engine(self) -> Engine:
        """Engine of the node."""
        return Engine.of(self.node)

    def _check_exists(self) -> bool:
        """Return whether an engine answers; start an installed engine that does not run.

        Raises:
            EngineNotFoundError: An engine is installed and does not start. Installing another one
                would not help.
        """
        try:
            start_engine(self.node)
            return True
        except EngineMissingError as error:
            self._log.debug(str(error))
            return False

    def _install(self) -> bool:
        name = node_name(self.node)
        kind = "podman" if self._needs_podman() else "Docker"
        what = f"installing {kind} on node '{name}', which has no container engine"
        try:
            with Activity(what, self.node.log, self._ask_installer):
                if kind == "podman":
                    install_podman(self.node)
                else:
                    super()._install()
        except EngineNotFoundError:
            raise  # installed, but it does not start
        except Exception as error:
            quoted = quote_output(str(error))
            if says_disk_is_full(quoted):
                raise NoSpaceError(name, quoted) from error
            raise EngineNotFoundError(
                f"no container engine is on node '{name}', and installing one failed: {quoted}\n"
                "Check the node's package sources and its connection to them, or install Docker or "
                "podman there by hand."
            ) from error
        start_engine(self.node)
        enable_engine(self.node)
        return True

    def _ask_installer(self) -> str:
        """Return the last words of the node's package manager in its log."""
        shell = self.node.shell
        if isinstance(shell, SshShell):
            return read_command(transport_of(shell), _INSTALLER_SAYS)
        return ""

    def _install_from_repo(self) -> None:
        # LISA calls this on Debian after the distribution's own package failed to install.
        first = sys.exc_info()[1]
        try:
            super()._install_from_repo()
        except Exception as error:
            raise EngineError(f"{first}. Then, from Docker's own packages: {error}") from error

    def _needs_podman(self) -> bool:
        """Return whether LISA would disable SELinux on this node to install Docker."""
        os = self.node.os
        is_red_hat = isinstance(os, Redhat) and not isinstance(os, CentOs)
        return is_red_hat and os.information.version >= "8.0.0"
