"""Install tools in a running container."""

from __future__ import annotations

import itertools
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lisa.util import constants

from lisa_container.engine.activity import Activity
from lisa_container.errors import CommandTimeoutError, NoSpaceError
from lisa_container.escaping import printable
from lisa_container.install.errors import (
    ToolChecksumError,
    ToolConflictError,
    ToolError,
    ToolManagerError,
    ToolNoSpaceError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolUnauthorizedError,
    ToolUnreachableError,
    ToolUntrustedError,
    ToolVerifyError,
    ToolVersionError,
)
from lisa_container.install.failures import Failure
from lisa_container.install.managers import MANAGERS, Manager, Package
from lisa_container.install.managers.base import match_version
from lisa_container.install.managers.release import ChecksumError
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool
from lisa_container.install.verify import NotReadyError, verify
from lisa_container.install.workbench import CommandFailedError, Workbench
from lisa_container.masking import Plain

if TYPE_CHECKING:
    from lisa_container.container.container import Container

# Seconds to wait before each further attempt. Most temporary problems last less than a minute.
_DELAYS = (2.0, 5.0, 15.0)
_ATTEMPTS = len(_DELAYS) + 1
# Age in seconds after which a manager's index is fetched again.
_INDEX_AGE = 600.0
# Maximum number of versions listed in an error.
_MAX_SHOWN = 12

# Error class, cause and next step for each failure.
_ERRORS: dict[Failure, tuple[type[ToolError], str]] = {
    Failure.NO_SPACE: (
        ToolNoSpaceError,
        "there is no space left. Free some on the node ('docker system df' shows what uses it), or "
        "enlarge the container's mounts.",
    ),
    Failure.CONFLICT: (
        ToolConflictError,
        "it conflicts with installed packages. Choose another version, another manager (via=…), or "
        "another image.",
    ),
    Failure.UNTRUSTED: (
        ToolUntrustedError,
        "its source is not trusted. The node must trust a proxy's certificate; if only this "
        "machine does, pass settings=PackageSettings.of_runner(). The image must have the "
        "repository's key.",
    ),
    Failure.UNAUTHORIZED: (
        ToolUnauthorizedError,
        "its source rejected the credentials. Put the right ones into the manager's settings on "
        "the node (pip.conf, .npmrc, apt's auth.conf…), or pass settings=….",
    ),
    Failure.UNREACHABLE: (
        ToolUnreachableError,
        f"its source did not answer properly in {_ATTEMPTS} attempts. Check the node's network and "
        "proxies, and the container's network_mode; cached=True installs in a separate container "
        "that has a network.",
    ),
    Failure.NOT_FOUND: (
        ToolNotFoundError,
        "no such package was found. Check the name and the image's package sources.",
    ),
    Failure.OTHER: (ToolError, "the installation failed."),
}

_numbers = itertools.count(1)


class Installer:
    """Installer for one container.

    Args:
        executor: the running container.
        settings: settings of the package managers, present only during an installation.
        timeout: time limit in seconds for one command of a manager.
        name: container name for messages; empty means the executor's name.
    """

    def __init__(
        self,
        executor: Container,
        settings: PackageSettings,
        timeout: float,
        name: str = "",
    ) -> None:
        """Install nothing yet; `install` does."""
        self._executor = executor
        self._name = name or executor.name
        self._settings = settings
        self._timeout = timeout
        # Time when each manager's index was fetched in this container.
        self._refreshed: dict[str, float] = {}

    def install(self, tool: Tool) -> InstalledTool:
        """Install a tool unless it is installed and ready.

        Raises:
            ToolError: The installation failed; a subclass names the cause.
        """
        if not self._executor.has_shell:
            raise ToolManagerError(
                tool.name,
                self._name,
                "its image has no shell, which an installation needs. Choose another image.",
            )
        path = _log_path(f"{self._name}-{tool.name}")
        with path.open("wb") as log:
            try:
                return self._install(tool, log, str(path))
            except CommandFailedError as error:
                raise self._error(error, tool, str(path)) from error
            except CommandTimeoutError as error:
                reason = (
                    f"a command of its manager {error.outcome}. See the log for where it hung, or "
                    "allow more time with timeout=…."
                )
                raise ToolTimeoutError(tool.name, self._name, reason, str(path)) from error
            except NoSpaceError as error:  # from the engine, for example during a copy
                failed = CommandFailedError(Failure.NO_SPACE, str(error))
                raise self._error(failed, tool, str(path)) from error

    def clean(self) -> None:
        """Remove the managers' downloads and indexes."""
        path = _log_path(f"{self._name}-clean")
        with path.open("wb") as log:
            workbench = Workbench(self._executor, self._settings, log, self._timeout)
            for name in self._refreshed:
                MANAGERS[name].clean(workbench)
        self._refreshed.clear()

    def _install(self, tool: Tool, log: IO[bytes], path: str) -> InstalledTool:
        with Workbench(self._executor, self._settings, log, self._timeout) as workbench:
            workbench.note(f"{tool.name} {tool.version}".rstrip() + f" in {self._executor!r}")
            workbench.note(f"settings for packages: {self._settings.origin}")
            manager = self._choose_manager(workbench, tool)
            installed = self._find_installed(workbench, manager, tool)
            if installed is None:
                what = f"installing tool '{tool.name}' by {manager.name} in {self._executor!r}"
                with Activity(what, self._executor.host.log) as activity:
                    workbench.on_output = activity.add_output
                    self._provide(workbench, manager, tool, path)
                    wanted = self._attempt(workbench, manager, tool, path)
                    workbench.on_output = None
                try:
                    installed = self._verify(workbench, manager, wanted)
                except (CommandFailedError, NotReadyError) as error:
                    workbench.note(f"not ready: {error}")
                    reason = f"{manager.name} installed it, but it is not ready: {error}."
                    raise ToolVerifyError(
                        tool.name, self._name, workbench.mask(reason), path
                    ) from error
            package, command, output = installed
            record = InstalledTool(
                name=tool.name,
                version=package.version,
                manager=manager.name,
                command=command,
                commands=package.commands,
                origin=workbench.mask(package.origin),
                checksum=package.checksum,
                verified=workbench.mask(output),
                log=path,
            )
            workbench.note(f"ready: {record}")
        self._executor.host.log.info(
            Plain(
                f"tool '{tool.name}' {record.version} ({record.manager}) is ready in "
                f"{self._executor!r}; the full log: {path}"
            )
        )
        return record

    def _choose_manager(self, workbench: Workbench, tool: Tool) -> Manager:
        if tool.via:
            return MANAGERS[tool.via]
        if tool.url or tool.file:
            return MANAGERS["release"]
        manager = _system_manager(workbench)
        if manager is None:
            raise ToolManagerError(
                tool.name,
                self._name,
                f"its image has no package manager (looked for: {_system_names()}). Use another "
                "image, or a release with url=… or file=….",
            )
        return manager

    def _find_installed(
        self, workbench: Workbench, manager: Manager, tool: Tool
    ) -> tuple[Package, str, str] | None:
        """Return the installed tool if it meets the request, or None."""
        if manager.name == "release" or not manager.is_available(workbench):
            return None  # another file may have the same name
        try:
            installed = self._verify(workbench, manager, tool)
        except (CommandFailedError, NotReadyError):
            return None
        workbench.note("already installed and ready")
        return installed

    def _verify(
        self, workbench: Workbench, manager: Manager, tool: Tool
    ) -> tuple[Package, str, str]:
        package = manager.describe(workbench, tool)
        if not package.version and manager.name != "release":
            raise NotReadyError(f"{manager.name} does not tell its version")
        wanted = tool.version.lstrip("v")
        if wanted and not match_version(wanted, [package.version]):
            raise NotReadyError(f"it has version {package.version}, not {tool.version}")
        workbench.note(f"verifying {package}")
        command, output = verify(self._executor, tool, package)
        return package, command, output

    def _provide(self, workbench: Workbench, manager: Manager, tool: Tool, path: str) -> None:
        """Install the manager if it is missing, and the additional packages of the tool."""
        has_manager = manager.is_available(workbench)
        if has_manager and not tool.packages:
            return
        system = _system_manager(workbench)
        needs = () if has_manager or system is None else manager.needs.get(system.name, ())
        if system is None or not (has_manager or needs):
            raise ToolManagerError(
                tool.name,
                self._name,
                f"its image has no {manager.name} ('{manager.program}') and no manager that can "
                f"install it (looked for: {_system_names()}). Use an image that has it.",
                path,
            )
        for package in (*needs, *tool.packages):
            self._attempt(workbench, system, Tool(package), path)

    def _attempt(self, workbench: Workbench, manager: Manager, tool: Tool, path: str) -> Tool:
        """Install the tool, retrying after network errors. Return it with its resolved version."""
        number = 0
        while True:
            number += 1
            try:
                self._refresh(workbench, manager, is_stale=number > 1)
                manager.install(workbench, tool)
                return tool
            except CommandFailedError as error:
                workbench.note(f"attempt {number} failed ({error.failure.value})")
                versions = []
                if error.failure is Failure.NOT_FOUND and tool.version:
                    versions = manager.list_versions(workbench, tool)
                manager.undo(workbench, tool)
                match = match_version(tool.version, versions) if versions else ""
                # The version is listed now, so the failure came from a temporary problem.
                was_temporary = bool(match) and match == tool.version
                if (error.failure is Failure.UNREACHABLE or was_temporary) and number < _ATTEMPTS:
                    delay = _DELAYS[number - 1]
                    self._executor.host.log.info(
                        Plain(
                            f"tool '{tool.name}': {printable(error.output[:200])}; trying again in "
                            f"{delay:g} s"
                        )
                    )
                    time.sleep(delay)
                    continue
                if match and not was_temporary:
                    tool = replace(tool, version=match)
                    continue
                if versions and not match:
                    raise self._version_error(tool, manager, versions, path) from error
                raise

    def _refresh(self, workbench: Workbench, manager: Manager, is_stale: bool) -> None:
        last = self._refreshed.get(manager.name)
        if is_stale or last is None or time.monotonic() - last > _INDEX_AGE:
            manager.refresh(workbench)
            self._refreshed[manager.name] = time.monotonic()

    def _version_error(
        self, tool: Tool, manager: Manager, versions: Sequence[str], path: str
    ) -> ToolVersionError:
        shown = ", ".join(versions[:_MAX_SHOWN])
        more = f" and {len(versions) - _MAX_SHOWN} more" if len(versions) > _MAX_SHOWN else ""
        return ToolVersionError(
            tool.name,
            self._name,
            f"{manager.name} has no version {tool.version} of it. It has: {shown}{more}.",
            path,
        )

    def _error(self, error: CommandFailedError, tool: Tool, path: str) -> ToolError:
        if isinstance(error, ChecksumError):
            return ToolChecksumError(
                tool.name,
                self._name,
                f"{error.output}. The file was changed or is a different one; it was not run.",
                path,
            )
        kind, reason = _ERRORS[error.failure]
        return kind(tool.name, self._name, f"{reason} Its output: '{error.output}'.", path)


def _system_manager(workbench: Workbench) -> Manager | None:
    managers = (manager for manager in MANAGERS.values() if manager.is_system)
    return next((manager for manager in managers if manager.is_available(workbench)), None)


def _system_names() -> str:
    return ", ".join(manager.name for manager in MANAGERS.values() if manager.is_system)


def _log_path(name: str) -> Path:
    """Return the path of a new log file, in LISA's log folder if a run is active."""
    if Path() == constants.RUN_LOCAL_LOG_PATH:
        folder = Path(tempfile.mkdtemp(prefix="lisa_container_installs_"))
    else:
        folder = constants.RUN_LOCAL_LOG_PATH / "installs"
        folder.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    return folder / f"{plain}-{next(_numbers)}.log"
