"""Run of `lisa-container` with the folder, the log and the records that a run of LISA has."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path, PurePath

from lisa import notifier
from lisa.messages import (
    SubTestMessage,
    TestResultMessage,
    TestRunMessage,
    TestRunStatus,
    TestStatus,
)
from lisa.node import Node
from lisa.util import constants, get_datetime_path
from lisa.util.logger import create_file_handler, get_logger, remove_handler

from lisa_container.cases.current import CurrentCase, use_case
from lisa_container.cases.started import follow_containers
from lisa_container.cases.status import CaseStatus, end_reported_cases
from lisa_container.container import interrupt
from lisa_container.errors import ConfigError
from lisa_container.notifiers.history import RunListener
from lisa_container.notifiers.listener import listen
from lisa_container.recording.files import describe_error


@contextlib.contextmanager
def recorded_run(log: Path, name: str) -> Iterator[Path]:
    """Make the folder of a run, which the history has, and record into it in this block.

    Args:
        log: folder that gets a folder for the run, as lisa's `--log_path`.
        name: name of the run in the history.

    Raises:
        ConfigError: the folder cannot be made.
    """
    moment = datetime.now(timezone.utc)
    path = PurePath(moment.strftime("%Y%m%d")) / get_datetime_path(moment)
    folder = log.absolute() / path
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"log folder: '{folder}' cannot be made: {error.strerror}. Give another one with --log"
        ) from error
    constants.RUN_ID = path.name
    constants.RUN_LOGIC_PATH = path
    constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = folder
    handler = create_file_handler(folder / f"lisa-{path.name}.log")
    follow_containers()
    for kind in (RunListener, CaseStatus):
        listen(kind)
    notifier.notify(TestRunMessage(runbook_name=name, status=TestRunStatus.RUNNING))
    try:
        yield folder
    except KeyboardInterrupt:
        interrupt.note()
        raise
    finally:
        notifier.finalize()
        remove_handler(handler, get_logger())
        handler.close()


class RecordedCase:
    """Case of a recorded run, from its begin to its end in a `with` block.

    Args:
        run: folder of the run.
        suite: name of the suite in the history.
        name: name of the case.
        node: node that the case runs on.
    """

    def __init__(self, run: Path, suite: str, name: str, node: Node) -> None:
        """Make the case's folder."""
        self.folder = run / "tests" / f"{get_datetime_path()}-{secrets.token_hex(2)}-{name}"
        """Folder of the case."""
        self._run = run
        self._id = f"{run.name}-{secrets.token_hex(4)}"
        self._name = name
        self._suite = suite
        self._node = node
        self._began = time.monotonic()
        self.folder.mkdir(parents=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Record what happens in the block, which reports the status; an exception is a failure."""
        self.report_status(TestStatus.RUNNING, "")
        nodes = (self._node,)
        try:
            with use_case(CurrentCase(self._id, self._name, self._suite, self.folder, nodes)):
                yield
        except BaseException as error:
            self.report_status(TestStatus.FAILED, describe_error(error))
            raise
        finally:
            end_reported_cases()

    def report_status(self, status: TestStatus, message: str) -> None:
        """Report the status of the case.

        Args:
            status: RUNNING, PASSED or FAILED.
            message: reason for FAILED.
        """
        notifier.notify(
            TestResultMessage(
                id_=self._id,
                name=self._name,
                suite_name=self._suite,
                status=status,
                message=message,
                elapsed=time.monotonic() - self._began,
                # LISA names the folder of a case by its log.
                log_file=(self.folder / "case.log").relative_to(self._run).as_posix(),
            )
        )

    def report_part(self, name: str, status: TestStatus, message: str, elapsed: float) -> None:
        """Report the result of a part of the case, as LISA's sub-tests.

        Args:
            name: name of the part.
            status: PASSED, FAILED or SKIPPED.
            message: reason for FAILED or SKIPPED.
            elapsed: duration in seconds.
        """
        notifier.notify(
            SubTestMessage(
                id_=self._id,
                name=name,
                status=status,
                message=message,
                parent_test=self._name,
                subtest_duration=elapsed,
            )
        )
