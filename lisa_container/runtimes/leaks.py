"""Detection of leaks: what a test leaves on a machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lisa.node import Node

from lisa_container.runtimes.looks import Looks
from lisa_container.runtimes.machine import Machine, machine_of
from lisa_container.runtimes.snapshot import NodeSnapshot, take_snapshot
from lisa_container.runtimes.workspace import FOLDER

_USER = r"(sshd|\(sd-pam\)|(/usr)?/lib/systemd/systemd --user)"
OF_RUNNER = (
    # The runner's connection, which it may close and open again.
    rf"^process \d+: {_USER}",
    rf"^namespace .*: {_USER}",
    r"^cgroup /sys/fs/cgroup(/systemd)?/user\.slice",
    r"^mount \w+ at /run/user/",
    # Resident shells, which start the runner's commands, and the watcher of its lease.
    r'^process \d+: \S*sh -c .*eval "\$lisa_container_',
    r"^process \d+: sh \./node\.sh ",
    # Children of this watcher and of a workspace's; one that begins or ends has no command line.
    rf"^process \d+( \(zombie\))?: [^(]*\(parent \d+: sh (\./node|{FOLDER}/\w+/workspace)\.sh ",
)
"""Regular expressions of what the runner itself makes on a machine, and leaves for a while."""


@contextmanager
def no_leaks(
    target: Node | Machine,
    seconds: float = 10.0,
    folders: Sequence[str] = (),
    ignored: Sequence[str] = OF_RUNNER,
) -> Iterator[NodeSnapshot]:
    r"""Check that a `with` block leaves a machine as it was.

    At the end of the block, the machine must have no new process, namespace, cgroup, mount,
    address, interface, route, listening socket or file of the given folders, and must have lost
    none of the last six. The check is repeated until it holds or time is up; only what all looks
    find is a leak. If the block raises an exception, there is no check.

        with no_leaks(vm):
            runtime.run(bundle)

    Args:
        target: Machine or LISA node.
        seconds: Time limit in seconds.
        folders: Folders whose files are compared, two levels deep.
        ignored: Regular expressions of lines to ignore, such as `^process \d+: chronyd`.

    Yields:
        The snapshot before the block.

    Raises:
        LeakError: The machine has changed; an AssertionError that lists the differences.
    """
    machine = machine_of(target)
    before = take_snapshot(machine, folders, ignored)
    yield before
    looks = Looks(machine.name, seconds)
    leaks = take_snapshot(machine, folders, ignored).leaks_since(before)
    while leaks:
        looks.next_of_leaks(leaks)
        # What comes and goes, such as the `sleep` of a shell's loop, is no leak.
        now = set(take_snapshot(machine, folders, ignored).leaks_since(before))
        leaks = [leak for leak in leaks if leak in now]
