"""Case of one test: its record, its evidence after a failure, and its kept containers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from lisa.messages import TestStatus
from lisa.util.logger import get_logger

from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.recorded import RecordedCase
from lisa_container.microvm import MicroVm
from lisa_container.microvm.freezing import DEFAULT_GIB, freeze_failed
from lisa_container.microvm.frozen.record import FrozenVm
from lisa_container.microvm.session import VmSession
from lisa_container.pytest_plugin.sections import frozen_sections, sections_of, vm_sections
from lisa_container.recording.files import describe_error
from lisa_container.recording.records import CONTAINERS_FOLDER
from lisa_container.snapshots import snapshots_beside


class Case:
    """Case of one test, from its set-up to the end of its fixtures.

    Args:
        item: The test.
        run: Folder of the run's records.
        freeze: Whether the virtual machines are frozen if the test fails.
    """

    def __init__(self, item: pytest.Item, run: Path, freeze: bool) -> None:
        """Begin the case."""
        self._freeze = freeze
        self.item = item
        suite = item.parent.nodeid if item.parent is not None else ""
        self._recorded = RecordedCase(run, suite, item.name)
        self._status, self._message = TestStatus.PASSED, ""
        self._running = contextlib.ExitStack()
        self._running.enter_context(self._recorded.running())
        self._running.enter_context(snapshots_beside(item.path))
        self.recorder = self._recorded.recorder
        """Recorder of what happens in the test's containers."""
        self._vms: dict[str, VmSession] = {}

    def add_vm(self, vm: VmSession) -> None:
        """Record the commands of a virtual machine with the test from now on.

        Args:
            vm: VM; nothing changes if the test has it already.
        """
        if any(each is vm for each in self._vms.values()):
            return
        name, number = vm.name, 1
        while name in self._vms:
            number += 1
            name = f"{vm.name}-{number}"
        self._vms[name] = vm
        vm.capture.record_to(self._vm_folder(name))

    def _vm_folder(self, name: str) -> Path:
        return self._recorded.folder / CONTAINERS_FOLDER / name

    def follow(
        self, report: pytest.TestReport, error: BaseException | None, machine: MicroVm | None
    ) -> None:
        """Note how a phase of the test ended; see `Run.follow`.

        Args:
            report: Report of the phase.
            error: Exception that ended the phase; None if there is none.
            machine: Virtual machine that is the test's node; None if the node is another machine.
        """
        if report.skipped and self._status is TestStatus.PASSED:
            self._status, self._message = TestStatus.SKIPPED, str(error or "")
        if not report.failed or self._status is TestStatus.FAILED:
            return
        self.fail(describe_error(error) if error is not None else "failed")
        started = [each for each in self.recorder.containers if each.is_started]
        self.recorder.kept += [each for each in started if keep_if_asked(each)]
        frozen = self._freeze_vms(machine) if self._freeze else []
        self.recorder.take(self._message)
        report.sections += sections_of(self.recorder, self._recorded.folder)
        for name, vm in self._vms.items():
            report.sections += vm_sections(name, vm, self._vm_folder(name))
        report.sections += frozen_sections(frozen)

    def _freeze_vms(self, node: MicroVm | None) -> list[FrozenVm]:
        machines = [*([node] if node else []), *(vm.machine for vm in self._vms.values())]
        folder, log = self._recorded.folder, get_logger("vm")
        return freeze_failed(machines, self.item.name, folder, DEFAULT_GIB, log)

    def fail(self, message: str) -> None:
        """Note that the test has failed.

        Args:
            message: What has failed.
        """
        self._status, self._message = TestStatus.FAILED, message

    def end(self) -> None:
        """Report the result to the records, and end them."""
        for vm in self._vms.values():
            vm.capture.record_to(None)
        self._recorded.report_status(self._status, self._message)
        self._running.close()
