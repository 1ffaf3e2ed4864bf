"""Freezing of the VMs of failed cases, as `keep_environment` asks for."""

from __future__ import annotations

import threading

from lisa.environment import Environment
from lisa.node import Node
from lisa.testsuite import TestResult
from lisa.util import constants
from lisa.util.logger import Logger

from lisa_container.cases.current import CurrentCase, hosts_of
from lisa_container.cases.recorder import FAILED
from lisa_container.engine.waiting import bounded, wait_for
from lisa_container.microvm.freezing import freeze_failed
from lisa_container.microvm.vm import MicroVm
from lisa_container.platforms.microvm.features import MicroVmContext

# Seconds to wait for VMs to be written; their own time limits are shorter.
_PATIENCE = 1200.0


class Freezer:
    """Freezing of the VMs of failed cases of one platform.

    Args:
        keep_environment: what the runbook asks for: `no`, `failed` or `always`.
        limit_gib: most GiB that the frozen VMs of a run take.
        log: logger of the platform.
    """

    def __init__(self, keep_environment: str, limit_gib: float, log: Logger) -> None:
        """Freeze nothing yet."""
        self._is_asked = keep_environment != constants.ENVIRONMENT_KEEP_NO
        self._limit_gib = limit_gib
        self._log = log
        self._lock = threading.Lock()
        # Failures by the ids of their cases. A timeout tells of one in two threads.
        self._failures: dict[str, threading.Event] = {}

    def follow(self, result: TestResult, environment: Environment) -> None:
        """Note a new status of a case; freeze its VMs if it has failed.

        Args:
            result: LISA's result of the case.
            environment: environment of the case.
        """
        if result.status in FAILED:
            self.freeze(CurrentCase.of(result, environment))
        else:
            # LISA may repeat a failed case.
            with self._lock:
                self._failures.pop(result.id_, None)

    def freeze(self, case: CurrentCase) -> None:
        """Freeze the VMs of a failed case, unless that was done for this failure; wait for that.

        Args:
            case: the case.
        """
        vms = list(dict.fromkeys(vm for node in case.nodes for vm in _vms_of(node)))
        if not self._is_asked or not vms:
            return
        with self._lock:
            is_mine = case.id not in self._failures
            done = self._failures.setdefault(case.id, threading.Event())
        if not is_mine:
            wait_for(done, _PATIENCE)
            return

        def work() -> None:
            try:
                freeze_failed(vms, case.name, case.folder, self._limit_gib, self._log)
            finally:
                done.set()

        # In a thread of its own: an exception that ends a case whose time is up may come again.
        bounded(work, _PATIENCE)


def _vms_of(node: Node) -> list[MicroVm]:
    """Return the VM of a node, also of a guest."""
    found = (host.get_context(MicroVmContext).vm for host in hosts_of(node))
    return [vm for vm in found if vm is not None]
