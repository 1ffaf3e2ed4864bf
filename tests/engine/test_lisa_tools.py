"""LISA's tools and disks, in a container and on its node."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import pytest
from lisa import schema
from lisa.executable import CustomScript, Tool
from lisa.feature import Features
from lisa.features import Disk, Gpu, Nvme
from lisa.node import Node
from lisa.operating_system import CpuArchitecture, Debian
from lisa.sut_orchestrator.ready import ReadyPlatform
from lisa.tools import Lsblk, Lscpu
from lisa.util import LisaException

from lisa_container import ContainerExecutor, ContainerNode, ContainerTestConfig

pytestmark = pytest.mark.own_node

IMAGE = "lisa_container/root"


@pytest.fixture(scope="module")
def inside(node: Node) -> Iterator[ContainerNode]:
    """Yield a privileged container with the programs of its node."""
    config = ContainerTestConfig(image=IMAGE, privileged=True)
    with ContainerExecutor(node, config) as container:
        yield container.node


# --- tools --------------------------------------------------------------------------------------

# Tools of other systems, and tools that are made with more arguments.
_OTHERS = re.compile(
    r"BSD|Freebsd|Windows|ESXi|KLD|Azl|CBL|Fedora|OpenEuler|Redhat|Suse|SuSE|HyperV|Wsl"
)
# Methods that only read; LISA's names begin so.
_READS = re.compile(r"(get|is|list|has|support|current|module)(_.*|$)")
# A method that takes a minute, and a tool that downloads before it tells whether it is there.
_SLOW = {"get_statistics", "Mono"}
# Tools with other results in a container, and the reasons.
_DIFFERENT = {
    # A container has its own mounts, networks, host name and user.
    *("Mount.get_partition_info", "Df.get_partitions", "Hostname.get_hostname"),
    *("Ip.get_info", "Ip.get_interface_list", "Ip.get_default_route_info"),
    "Whoami.get_username",
    # Two readings in GiB may be equal twice, and different from the others between them.
    "Free.get_free_memory_gb",
    # The node's disks are not the container's.
    *("Lsblk.get_disks",),
}


def tool_classes() -> list[type[Tool]]:
    """Return LISA's own tool classes for Linux, each name once."""
    found: dict[str, type[Tool]] = {}
    todo: list[type[Tool]] = [Tool]
    while todo:
        for each in todo.pop().__subclasses__():
            todo.append(each)
            if each.__module__.startswith("lisa.") and not _OTHERS.search(each.__name__):
                found[each.__name__] = each
    found.pop(CustomScript.__name__)
    return [found[name] for name in sorted(found)]


def reads(tool: Tool) -> list[str]:
    """Return the names of a tool's own methods that only read and need no argument."""
    names = []
    for name, method in inspect.getmembers(type(tool), inspect.isfunction):
        needed = [
            parameter
            for parameter in list(inspect.signature(method).parameters.values())[1:]
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        if _READS.fullmatch(name) and not needed and name not in _SLOW and not hasattr(Tool, name):
            names.append(name)
    return names


def outcome(work: Any) -> str:
    """Return what a call gives, or the kind of its error, as text."""
    try:
        result = work()
    except Exception as error:
        return type(error).__name__
    return repr(result)


def survey(node: Node, names: Collection[str] | None = None) -> dict[str, str]:
    """Return what each tool that needs no installation gives on a node.

    Args:
        node: A machine or a container.
        names: Names of the only classes to look at; all by default.
    """
    results: dict[str, str] = {}
    for tool_class in tool_classes():
        name = tool_class.__name__
        if name in _SLOW or (names is not None and name not in names):
            continue
        try:
            tool = tool_class.create(node)
            tool.initialize()
            results[name] = f"exists: {tool.exists}"
        except Exception as error:
            results[name] = type(error).__name__
            continue
        if tool.exists:
            own: Tool = node.tools.get(tool_class)
            for method in reads(own):
                results[f"{name}.{method}"] = outcome(getattr(own, method))
    return results


def test_all_tools(node: Node, inside: ContainerNode) -> None:
    """Each tool exists in both places or in neither, and gives equal results."""
    with ThreadPoolExecutor(1) as pool:
        in_container = pool.submit(survey, inside)
        theirs = survey(node)
        ours = in_container.result()
    different = {name for name, value in theirs.items() if ours.get(name) != value} - _DIFFERENT
    # What differs from call to call (times, loads, free memory) tells nothing about the container.
    node.tools._cache.clear()
    inside.tools._cache.clear()
    tools = {name.partition(".")[0] for name in different}
    theirs_again, ours_again = survey(node, tools), survey(inside, tools)
    stable = {
        name: (theirs[name], ours.get(name))
        for name in different
        if theirs[name] == theirs_again.get(name) and ours.get(name) == ours_again.get(name)
    }
    assert stable == {}
    assert len(theirs) > 200 and len(different) < 10
    assert ours["Lsblk.get_disks"] == "[]"


def test_tools_that_need_a_terminal(node: Node, inside: ContainerNode) -> None:
    """LISA's tools that parse a terminal's carriage returns and messages work inside."""
    for each in (node, inside):
        assert each.tools[Lscpu].get_architecture() == CpuArchitecture.X64
        os = each.os
        assert isinstance(os, Debian)
        os._first_time_installation = False  # no refresh of the index
        os._package_metadata_refresh_retried.add("no-such-package")
        assert not os.is_package_in_repo("no-such-package")


# --- disks --------------------------------------------------------------------------------------


def test_no_disk_of_the_node(inside: ContainerNode) -> None:
    """LISA sees no disk of the node in a container, although `lsblk` shows them."""
    assert "disk" in inside.execute("lsblk").stdout
    assert inside.tools[Lsblk].get_disks(force_run=True) == []
    assert inside.tools.lsblk is inside.tools[Lsblk]
    before = inside.execute("mount").stdout
    assert inside.find_partition_with_freespace(1) == "/"
    assert inside.find_partition_with_freespace(1, use_os_drive=False, raise_error=False) == ""
    for arguments in ((1, False), (10**6, True)):
        with pytest.raises(LisaException, match=r"GiB of free space.*volumes"):
            inside.find_partition_with_freespace(*arguments)
    assert inside.get_working_path_with_required_space(0) == str(inside.working_path)
    assert inside.execute("mount").stdout == before


def test_disks_of_the_config(node: Node, inside: ContainerNode) -> None:
    """A disk that `devices` names is offered, unless the node itself uses it."""
    disks = node.tools[Lsblk].get_disks(force_run=True)
    names = [disk.device_name for disk in disks]
    config = inside.config
    used = next(disk.device_name for disk in disks if disk.is_mounted)
    free = [disk.device_name for disk in disks if not disk.is_mounted]
    devices = [name for name in (used, *free[:1]) if node.shell.exists(PurePosixPath(name))]
    with ContainerExecutor(node, config.merged(devices=devices)) as container:
        found = container.node.tools[Lsblk].get_disks(force_run=True)
    assert [disk.device_name for disk in found] == [name for name in free[:1] if name in devices]
    assert used in names


def test_features(node: Node) -> None:
    """Features that choose disks are not available in a container; others are its node's."""
    platform = ReadyPlatform(schema.Platform(type="ready"))
    node.features = Features(node, platform)
    try:
        with ContainerExecutor(node, ContainerTestConfig(image=IMAGE)) as container:
            features = container.node.features
            assert [features.is_supported(x) for x in (Disk, Nvme, Gpu)] == [False, False, True]
            with pytest.raises(LisaException, match="Disk"):
                features[Disk]
            assert features[Gpu]._node is node
        assert node.features.is_supported(Disk)
    finally:
        del node.features
