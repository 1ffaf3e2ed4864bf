"""Files of a plan: those that it puts into a container, and those that it looks at there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from lisa_container.engine.view import Kind, View
from lisa_container.errors import ContainerError
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.expect import differences
from lisa_container.plan.model import FileCheck, PlacedFile

_DEFAULT_MODE = "0644"
# A larger file (bytes) is not compared: all of it would be in memory.
_LARGEST = 64 << 20
_ASK_TIMEOUT = 60.0


def put_files(executor: ContainerExecutor, files: Mapping[str, PlacedFile]) -> None:
    """Put files into a container.

    Args:
        executor: of the container.
        files: by absolute path in it.

    Raises:
        CopyError: one cannot be read here, or not be written there.
    """
    with tempfile.TemporaryDirectory(prefix="lisa_container_plan_") as folder:
        part = Path(folder) / "file"
        for path, placed in files.items():
            if placed.file:
                executor.copy_to(placed.file, path)
                continue
            part.write_bytes(placed.data)
            part.chmod(int(placed.mode or _DEFAULT_MODE, 8))
            executor.copy_to(part, path)


def file_differences(executor: ContainerExecutor, checks: Mapping[str, FileCheck]) -> list[str]:
    """How the files of a container differ from what is expected of them.

    Args:
        executor: of the container.
        checks: by absolute path in it.

    Raises:
        EngineError: they cannot be looked at.
    """
    found: list[str] = []
    if checks:
        view = View(executor.engine, executor.name)
        for path, check in checks.items():
            found += _differences(executor, view, path, check)
    return found


def _differences(executor: ContainerExecutor, view: View, path: str, check: FileCheck) -> list[str]:
    kind = view.find(path).kind
    if not check.exists:
        return [] if kind is Kind.NOTHING else [f"{path}: expected nothing, but it is there"]
    if kind is Kind.NOTHING:
        return [f"{path}: expected to be there, but it is not"]
    found = []
    if check.mode:
        # As root: others may not get through the folders above.
        said = executor.run(["stat", "-L", "-c", "%a", path], user="0", timeout=_ASK_TIMEOUT)
        if said.exit_code:
            found.append(f"{path}: its mode cannot be told: {said.stderr or said.stdout}")
        elif int(said.stdout, 8) != int(check.mode, 8):
            found.append(f"{path}: expected mode {check.mode}, but it is {said.stdout.zfill(4)}")
    if check.looks_inside and kind is Kind.FOLDER:
        found.append(f"{path}: expected a file, but it is a folder")
    elif check.looks_inside:
        found += _content_differences(executor, path, check)
    return found


def _content_differences(executor: ContainerExecutor, path: str, check: FileCheck) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="lisa_container_plan_") as folder:
        copy = Path(folder) / "file"
        try:
            executor.copy_from(path, copy)
            if not copy.is_file():
                return [f"{path}: expected a file, but it is something else"]
            if copy.stat().st_size > _LARGEST:
                return [f"{path}: it has more than {_LARGEST} bytes, which is not compared"]
            copy.chmod(0o600)
            return differences(check, path, copy.read_bytes())
        except (ContainerError, OSError) as error:
            return [f"{path}: it cannot be read: {error}"]
