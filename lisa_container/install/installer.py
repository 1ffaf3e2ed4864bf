"""Installing tools in a container that runs."""

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

from lisa_container.errors import CommandTimeoutError, NoSpaceError
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
from lisa_container.install.managers.base import matching
from lisa_container.install.managers.release import ChecksumError
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool
from lisa_container.install.verify import NotReadyError, verify
from lisa_container.install.workbench import CommandFailedError, Workbench

if TYPE_CHECKING:
    from lisa_container.executor import ContainerExecutor

# Seconds of rest before each further attempt: what passes by itself mostly does so in a minute.
_RESTS = (2.0, 5.0, 15.0)
_ATTEMPTS = len(_RESTS) + 1
# A manager's index that was fetched so long ago (seconds) is fetched anew.
_INDEX_AGE = 600.0
# So many of a package's versions are named in an error.
_SHOWN = 12

# What each failure means to a user: its error, and what to do next.
_MEANING: dict[Failure, tuple[type[ToolError], str]] = {
    Failure.NO_SPACE: (
        ToolNoSpaceError,
        "there is no space for it. Free some on the node ('docker system df' shows what takes it), "
        "or give the container's mounts more.",
    ),
    Failure.CONFLICT: (
        ToolConflictError,
        "it does not go together with what is there. Choose another version or manager (via=…), or "
        "an image without the other.",
    ),
    Failure.UNTRUSTED: (
        ToolUntrustedError,
        "its source is not trusted. A proxy's certificate must be among those that the node "
        "trusts; if it is this machine that does, pass settings=PackageSettings.of_runner(). A "
        "repository's key must be in the image.",
    ),
    Failure.UNAUTHORIZED: (
        ToolUnauthorizedError,
        "its source wants other credentials. Put them into the node's own settings of the manager "
        "(pip.conf, .npmrc, apt's auth.conf…), or pass settings=….",
    ),
    Failure.UNREACHABLE: (
        ToolUnreachableError,
        f"its source did not answer soundly, {_ATTEMPTS} times. Look at the node's way out, its "
        "proxies and the container's network_mode; cached=True installs in a container of its own, "
        "which has a network.",
    ),
    Failure.NOT_FOUND: (
        ToolNotFoundError,
        "there is no such package. Check the name, and the sources that the image has.",
    ),
    Failure.OTHER: (ToolError, "its installation failed."),
}

_numbers = itertools.count(1)


class Installer:
    """Installs in one container.

    Args:
        executor: the container, running.
        settings: of the package managers, lent to it.
        timeout: seconds that one command of a manager may take.
        name: of the container for which it is done, for messages; its own by default.
    """

    def __init__(
        self,
        executor: ContainerExecutor,
        settings: PackageSettings,
        timeout: float,
        name: str = "",
    ) -> None:
        self._executor = executor
        self._name = name or executor.name
        self._settings = settings
        self._timeout = timeout
        # Manager -> when its index was fetched here.
        self._refreshed: dict[str, float] = {}

    def install(self, tool: Tool) -> InstalledTool:
        """Install a tool, unless it is there and ready.

        Raises:
            ToolError: or one of its kinds.
        """
        if not self._executor.has_shell:
            raise ToolManagerError(
                tool.name,
                self._name,
                "its image has no shell, and nothing can be installed without one. Choose another "
                "image.",
            )
        path = _log_path(f"{self._name}-{tool.name}")
        with path.open("wb") as log:
            try:
                return self._install(tool, log, str(path))
            except CommandFailedError as error:
                raise self._error(error, tool, str(path)) from error
            except CommandTimeoutError as error:
                reason = (
                    f"a command of its manager did not end in {self._timeout:g} seconds and was "
                    "killed. Look where it hung, or give it longer by timeout=…."
                )
                raise ToolTimeoutError(tool.name, self._name, reason, str(path)) from error
            except NoSpaceError as error:  # the engine's word, as for a file that is copied
                failed = CommandFailedError(Failure.NO_SPACE, str(error))
                raise self._error(failed, tool, str(path)) from error

    def clean(self) -> None:
        """Remove what was fetched and is not needed any more."""
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
            manager = self._manager(workbench, tool)
            found = self._ready(workbench, manager, tool)
            if found is None:
                self._provide(workbench, manager, tool, path)
                wanted = self._attempt(workbench, manager, tool, path)
                try:
                    found = self._verified(workbench, wanted, manager.describe(workbench, wanted))
                except (CommandFailedError, NotReadyError) as error:
                    workbench.note(f"not ready: {error}")
                    reason = f"{manager.name} has installed it, but it is not ready: {error}."
                    raise ToolVerifyError(
                        tool.name, self._name, workbench.mask(reason), path
                    ) from error
            package, command, said = found
            record = InstalledTool(
                name=tool.name,
                version=package.version,
                manager=manager.name,
                command=command,
                origin=workbench.mask(package.origin),
                checksum=package.checksum,
                verified=workbench.mask(said),
                log=path,
            )
            workbench.note(f"ready: {record}")
        self._executor.host.log.info(
            f"tool '{tool.name}' {record.version} ({record.manager}) is ready in "
            f"{self._executor!r}; the whole log: {path}"
        )
        return record

    def _manager(self, workbench: Workbench, tool: Tool) -> Manager:
        if tool.via:
            return MANAGERS[tool.via]
        if tool.url or tool.file:
            return MANAGERS["release"]
        manager = _system_manager(workbench)
        if manager is None:
            raise ToolManagerError(
                tool.name,
                self._name,
                f"its image has no package manager ({_system_names()} were looked for). Name "
                "another image, or a release by url=… or file=….",
            )
        return manager

    def _ready(
        self, workbench: Workbench, manager: Manager, tool: Tool
    ) -> tuple[Package, str, str] | None:
        """What is there of it, where that will do."""
        if manager.name == "release" or not manager.is_there(workbench):
            return None  # of a file, another one may be meant by the same name
        try:
            found = self._verified(workbench, tool, manager.describe(workbench, tool))
        except (CommandFailedError, NotReadyError):
            return None
        workbench.note("it is there already, and ready")
        return found

    def _verified(
        self, workbench: Workbench, tool: Tool, package: Package
    ) -> tuple[Package, str, str]:
        wanted = tool.version.lstrip("v")
        if wanted and not matching(wanted, [package.version]):
            raise NotReadyError(f"it has version {package.version}, not {tool.version}")
        workbench.note(f"verifying {package}")
        command, said = verify(self._executor, tool, package)
        return package, command, said

    def _provide(self, workbench: Workbench, manager: Manager, tool: Tool, path: str) -> None:
        """Install the manager itself, and the packages that the tool names, where they lack."""
        has_manager = manager.is_there(workbench)
        if has_manager and not tool.packages:
            return
        system = _system_manager(workbench)
        needs = () if has_manager or system is None else manager.needs.get(system.name, ())
        if system is None or not (has_manager or needs):
            raise ToolManagerError(
                tool.name,
                self._name,
                f"its image has no {manager.name} ('{manager.program}'), and nothing that could "
                f"install it: {_system_names()} with a package for it were looked for. Name an "
                "image that has it.",
                path,
            )
        for package in (*needs, *tool.packages):
            self._attempt(workbench, system, Tool(package), path)

    def _attempt(self, workbench: Workbench, manager: Manager, tool: Tool, path: str) -> Tool:
        """Install it, again where the network failed; the tool with the version that was found."""
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
                    versions = manager.versions(workbench, tool)
                manager.undo(workbench, tool)
                found = matching(tool.version, versions) if versions else ""
                # It is there after all: a moment ago its source had trouble.
                has_passed = bool(found) and found == tool.version
                if (error.failure is Failure.UNREACHABLE or has_passed) and number < _ATTEMPTS:
                    rest = _RESTS[number - 1]
                    self._executor.host.log.info(
                        f"tool '{tool.name}': {error.said[:200]}; trying again in {rest:g} s"
                    )
                    time.sleep(rest)
                    continue
                if found and not has_passed:
                    tool = replace(tool, version=found)
                    continue
                if versions and not found:
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
        shown = ", ".join(versions[:_SHOWN])
        more = f" and {len(versions) - _SHOWN} more" if len(versions) > _SHOWN else ""
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
                f"{error.said}. The file was changed or is another one; nothing of it was run.",
                path,
            )
        kind, meaning = _MEANING[error.failure]
        return kind(tool.name, self._name, f"{meaning} It said: '{error.said}'.", path)


def _system_manager(workbench: Workbench) -> Manager | None:
    managers = (manager for manager in MANAGERS.values() if manager.is_system)
    return next((manager for manager in managers if manager.is_there(workbench)), None)


def _system_names() -> str:
    return ", ".join(manager.name for manager in MANAGERS.values() if manager.is_system)


def _log_path(name: str) -> Path:
    """A new file for a log: in LISA's folder of the run, where it is one."""
    if Path() == constants.RUN_LOCAL_LOG_PATH:
        folder = Path(tempfile.mkdtemp(prefix="lisa_container_installs_"))
    else:
        folder = constants.RUN_LOCAL_LOG_PATH / "installs"
        folder.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    return folder / f"{plain}-{next(_numbers)}.log"
