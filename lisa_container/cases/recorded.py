"""Run without LISA's runner: the folder, the log and the records that a run of LISA has."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator, Sequence
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
from lisa_container.cases.recorder import CaseRecorder
from lisa_container.cases.started import follow_containers
from lisa_container.cases.status import CaseStatus, end_reported_cases
from lisa_container.container import interrupt
from lisa_container.errors import ConfigError
from lisa_container.notifiers.history import RunListener
from lisa_container.notifiers.listener import listen
from lisa_container.recording.files import describe_error

# Characters that the name of a case's folder does not have, and its greatest length.
_NO_FILE_NAME = re.compile(r"[^\w.=\[\]-]+")
_LONGEST_NAME = 80


@contextlib.contextmanager
def recorded_run(log: Path, name: str) -> Iterator[Path]:
    """Make the folder of a run, which the history has, and record into it in this block.

    Args:
        log: folder that gets a folder for the run, as lisa's `--log_path`.
        name: name of the run in the history.

    Raises:
        ConfigError: the folder cannot be made.
    """
    path = _make_folder(log.absolute())
    folder = log.absolute() / path
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


def _make_folder(log: Path) -> PurePath:
    """Make the folder of a run; return its path below the log folder."""
    while True:
        moment = datetime.now(timezone.utc)
        path = PurePath(moment.strftime("%Y%m%d")) / get_datetime_path(moment)
        try:
            (log / path).mkdir(parents=True)
            return path
        except FileExistsError:
            time.sleep(0.001)  # another run began in this millisecond, which its name has
        except OSError as error:
            raise ConfigError(
                f"log folder: '{log / path}' cannot be made: {error.strerror}. Give another one"
            ) from error


class RecordedCase:
    """Case of a recorded run, from its begin to its end in a `with` block.

    Args:
        run: folder of the run.
        suite: name of the suite in the history.
        name: name of the case.
        nodes: nodes that the case runs on, as far as they are known.
    """

    def __init__(self, run: Path, suite: str, name: str, nodes: Sequence[Node] = ()) -> None:
        """Make the case's folder."""
        ending = _NO_FILE_NAME.sub("_", name)[:_LONGEST_NAME]
        self.folder = run / "tests" / f"{get_datetime_path()}-{secrets.token_hex(2)}-{ending}"
        """Folder of the case."""
        self._run = run
        self._id = f"{run.name}-{secrets.token_hex(4)}"
        self._name = name
        self._suite = suite
        self._nodes = tuple(nodes)
        self._began = time.monotonic()
        self.folder.mkdir(parents=True)

    @property
    def recorder(self) -> CaseRecorder:
        """Recorder of what happens in the case's containers."""
        return CaseRecorder.reported(self._id, self._name, self._suite, self.folder)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Record what happens in the block, which reports the status; an exception is a failure."""
        self.report_status(TestStatus.RUNNING, "")
        case = CurrentCase(self._id, self._name, self._suite, self.folder, self._nodes)
        try:
            with use_case(case):
                yield
        except BaseException as error:
            self.report_status(TestStatus.FAILED, describe_error(error))
            raise
        finally:
            end_reported_cases()

    def report_status(self, status: TestStatus, message: str) -> None:
        """Report the status of the case.

        Args:
            status: RUNNING, PASSED, FAILED or SKIPPED.
            message: reason for FAILED or SKIPPED.
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
