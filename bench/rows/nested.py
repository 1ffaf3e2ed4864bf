"""A trivial command in a container in a virtual machine.

The row `command` once more: `/bin/true` in a container of a VM, as root. The image has busybox
alone, so Mitogen, which needs Python, has no line. `docker exec` starts the engine's client and
runc for each command, and without KVM each start of a large program is translated anew.
"""

from __future__ import annotations

import contextlib

from bench.result import Line, Target
from bench.stage import BUSYBOX, Stage
from bench.timing import interleave, repeated
from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.container.live import release_lease
from lisa_container.microvm import MicroVm
from lisa_container.microvm.session import VmSession

_OURS = "executor.run, in a container in a VM"
_STOCK = "LISA's stock path"


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    config = ContainerTestConfig(image=BUSYBOX)
    with VmSession(MicroVm()) as vm, VmSession(MicroVm()) as other, contextlib.ExitStack() as stack:
        node = vm.node
        stack.callback(release_lease, node)
        container = stack.enter_context(ContainerExecutor(node, config))
        # On a connection that lisa_container has not used.
        stock = other.node
        stack.callback(release_lease, stock)
        beside = stack.enter_context(ContainerExecutor(stock, config))
        command = f"docker exec {beside.name} /bin/true"
        ways = {
            _OURS: repeated(lambda: _check(container.run(["/bin/true"]).exit_code), 20),
            _STOCK: repeated(lambda: _check(stock.execute(command).exit_code)),
        }
        found = interleave(ways, rounds=stage.pick(10, 1))
    return [
        Line(
            _OURS,
            found[_OURS].median(),
            _STOCK,
            found[_STOCK].median(),
            target=Target(0.01),
            samples=len(found[_OURS].samples[""]),
        )
    ]


def _check(exit_code: int | None) -> None:
    assert exit_code == 0, f"exit code {exit_code}"
