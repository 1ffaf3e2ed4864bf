"""Files that a plan puts into its container, and files that it checks there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lisa_container.archives.destination import open_destination
from lisa_container.container.copy import CopyLimits, copy_file
from lisa_container.container.view import Kind, View
from lisa_container.errors import ContainerError
from lisa_container.executor import ContainerExecutor
from lisa_container.forks import temporary_folder
from lisa_container.parsing import parse_int
from lisa_container.plan.expect import find_differences
from lisa_container.plan.model import FileCheck, PlacedFile

_DEFAULT_MODE = "0644"
# Larger files (bytes) are not compared, because the comparison holds the file in memory.
_MAX_SIZE = 64 << 20
_STAT_TIMEOUT = 60.0


def put_files(executor: ContainerExecutor, files: Mapping[str, PlacedFile]) -> None:
    """Put files into a container.

    Args:
        executor: the container.
        files: each file by its absolute path in the container.

    Raises:
        CopyError: a file cannot be read on this machine or written in the container.
    """
    with temporary_folder("lisa_container_plan_") as folder:
        part = Path(folder) / "file"
        for path, placed in files.items():
            if placed.file:
                executor.copy_to(placed.file, path)
                continue
            part.write_bytes(placed.data)
            part.chmod(int(placed.mode or _DEFAULT_MODE, 8))
            executor.copy_to(part, path)


def find_file_differences(
    executor: ContainerExecutor, checks: Mapping[str, FileCheck]
) -> list[str]:
    """Return the differences between files of a container and what is expected, one text each.

    Args:
        executor: the container.
        checks: each check by the file's absolute path in the container.

    Raises:
        EngineError: the engine cannot tell the state of a file.
    """
    result: list[str] = []
    if checks:
        view = View(executor.engine, executor.name)
        for path, check in checks.items():
            result += _compare_file(executor, view, path, check)
    return result


def _compare_file(
    executor: ContainerExecutor, view: View, path: str, check: FileCheck
) -> list[str]:
    kind = view.find(path).kind
    if not check.exists:
        return [] if kind is Kind.NOTHING else [f"{path}: expected not to exist, but it does"]
    if kind is Kind.NOTHING:
        return [f"{path}: expected to exist, but it does not"]
    differences = []
    if check.mode:
        # As root, because other users may have no access to the parent folders.
        result = executor.run(["stat", "-L", "-c", "%a", path], user="0", timeout=_STAT_TIMEOUT)
        mode = parse_int(result.stdout, 8) if result.exit_code == 0 else None
        if mode is None:
            differences.append(f"{path}: its mode cannot be read: {result.stderr or result.stdout}")
        elif mode != int(check.mode, 8):
            differences.append(
                f"{path}: expected mode {check.mode}, but it is {result.stdout.zfill(4)}"
            )
    if check.checks_content and kind is Kind.FOLDER:
        differences.append(f"{path}: expected a file, but it is a folder")
    elif check.checks_content:
        differences += _compare_content(executor, path, check)
    return differences


def _compare_content(executor: ContainerExecutor, path: str, check: FileCheck) -> list[str]:
    with temporary_folder("lisa_container_plan_") as folder:
        copy = Path(folder) / "file"
        try:
            with open_destination(copy) as there:
                copy_file(executor.engine, executor.name, path, there, CopyLimits(_MAX_SIZE))
            copy.chmod(0o600)
            return find_differences(check, path, copy.read_bytes())
        except (ContainerError, OSError) as error:
            return [f"{path}: it cannot be read: {error}"]
