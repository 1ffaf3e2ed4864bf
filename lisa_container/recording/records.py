"""Layout and types of the files that a run leaves.

The files are below LISA's folder of the run, in UTF-8:

    containers/run.json                       RunRecord
    containers/results.jsonl                  ResultRecord, one a line
    containers/usage.jsonl                    UsageRecord, one a line, from a monitor
    containers/<container>/container.json     ContainerRecord
    containers/<container>/commands.jsonl     CommandRecord per line: commands outside of cases
    containers/<container>/tools.json         the installed tools, as `executor.installed`
    tests/<case>/case.json                    CaseRecord
    tests/<case>/containers/<container>/
        commands.jsonl                        CommandRecord per line: commands of the case
        output/00012.stdout                   streams that are long, or not UTF-8
        output/00012.pieces                   pieces of a long stream, a JSON array per line
        files/<absolute path>                 collected files
        changes.json                          ChangesRecord
        inspect.json                          the engine's description of the container
        container.log                         output of its first process
        state.json                            StateRecord
        enter.sh                              script that opens a shell in the kept container

A container that is kept without a failed case has `enter.sh` beside its `container.json`.

Times are ISO 8601 in UTC with microseconds. Secrets are `***`, or LISA's replacement for them.

The index over all runs is made from these files. A kill of the runner or a full disk may leave an
incomplete or empty line in `commands.jsonl`; a reader skips it.
"""

# Optional keys are in a class of their own: Python 3.9 has no `NotRequired`.

from __future__ import annotations

from typing import Any, TypedDict

FORMAT = 1
"""Version of all these files; a reader refuses a higher one."""

RUN_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
CONTAINER_FILE = "container.json"
TOOLS_FILE = "tools.json"
USAGE_FILE = "usage.jsonl"
COMMANDS_FILE = "commands.jsonl"
CASE_FILE = "case.json"
CHANGES_FILE = "changes.json"
INSPECT_FILE = "inspect.json"
LOG_FILE = "container.log"
STATE_FILE = "state.json"
ENTER_FILE = "enter.sh"
CONTAINERS_FOLDER, OUTPUT_FOLDER, FILES_FOLDER = "containers", "output", "files"


class UsageRecord(TypedDict):
    """Sample of a node and its containers."""

    node: str
    time: float
    """Time by the node's clock, in seconds since 1970."""
    usage: dict[str, Any] | None
    """Fields of `monitor.NodeUsage`; null where the record only tells the end of a container."""
    containers: list[dict[str, Any]]
    """Fields of `monitor.ContainerUsage`."""


class _RunRecord(TypedDict):
    format: int
    run: str
    """LISA's id of the run (`constants.RUN_ID`)."""
    name: str
    """Name of the runbook."""
    started: str
    runner: str
    """Host name of the machine that LISA runs on."""
    pid: int
    versions: dict[str, str]
    """Versions of `lisa_container`, `lisa` and `python`."""


class RunRecord(_RunRecord, total=False):
    """Content of `run.json`, which is written when the run begins and when it ends."""

    ended: str
    """Time of the end; missing while the run goes on, and if it was killed."""
    message: str
    """Why the run failed as a whole."""
    interrupted: bool
    """Whether Ctrl-C ended the run; missing if not."""


class ResultRecord(TypedDict):
    """Line of `results.jsonl`: LISA's report of a case (at its begin and end) or of a sub-test.

    A case that never began has its line at the end of the run. The last line with the same `id`,
    `parent` and `name` counts.
    """

    id: str
    """`TestResult.id_`."""
    parent: str
    """Name of the case that a sub-test belongs to; empty for a case."""
    suite: str
    name: str
    status: str
    """LISA's status in lower case; `queued` for a case that did not run before the run's end."""
    message: str
    started: str | None
    ended: str | None
    duration: float | None
    """Seconds."""
    folder: str
    """LISA's folder of the case, below the run's; empty if it has none."""


class ContainerRecord(TypedDict):
    """Content of `container.json`, which is written when the container starts and ends."""

    format: int
    name: str
    id: str
    node: str
    engine: str
    """`docker 20.10.24` or `podman 4.3.1`."""
    image: str
    """Image as in the config; the name of the result for an image that was built."""
    image_id: str
    config: dict[str, Any]
    """All fields of `ContainerTestConfig`."""
    suite: str
    """Class name of the suite; empty for a container without one."""
    case: str
    """`TestResult.id_` of its only case; empty if it served several cases, or none."""
    started: str
    ended: str
    """Time of the removal; empty until then, and if the run was killed."""
    exit_code: int | None
    """Exit code of its first process, if known."""
    oom_killed: bool | None
    """Whether the engine reports a kill for the memory limit, if known."""


class CaseRecord(TypedDict):
    """Content of `case.json`, for a case that had a container.

    The file is written when the case begins and ends, and when LISA reports its status.
    """

    format: int
    id: str
    """`TestResult.id_`."""
    name: str
    suite: str
    started: str
    ended: str
    status: str
    """LISA's status: `passed`, `failed`, `skipped`, `attempted`; empty until known."""
    message: str
    containers: list[str]
    """Names of its containers."""


class StreamRecord(TypedDict):
    """Size of stdout or stderr of a command."""

    bytes: int
    """Number of bytes that the command wrote."""
    cut: int
    """Number of bytes that are missing at the end, for `capture_limit` or a full disk."""


class KeptStreamRecord(StreamRecord, total=False):
    """Stream with its content in `text` or `file`; neither if there was no output."""

    text: str
    file: str
    """File beside `commands.jsonl`, for a stream above 1 MiB or one that is not UTF-8."""
    masked: bool
    """Whether secrets were masked in the file; offsets of `pieces` do not fit it then."""


class ResourceRecord(TypedDict):
    """Resources that the container used while a command ran (`measure: true`).

    None: the kernel does not report the value.
    """

    cpu: float | None
    """Seconds on all CPUs."""
    memory_peak: int | None
    """Peak in bytes of the whole container; if an earlier peak was higher: the use at the end."""
    read: int | None
    """Bytes read from block devices."""
    written: int | None
    """Bytes written to block devices."""
    shared: bool
    """Whether another command ran in the container meanwhile; the numbers include it."""


# [seconds since `started`, 1 for stdout or 2 for stderr, bytes]
Piece = tuple[float, int, int]


class BegunRecord(TypedDict):
    """Line of `commands.jsonl` for a running command, written after one second.

    A line with the same `n` follows when the command ends. The last line with an `n` counts.
    """

    n: int
    """Number of the command in its container, from 1 on, across all files."""
    state: str
    """`running`, `ended`, or `left`: its container was removed while it ran."""
    command: str
    """Command as a shell would write it."""
    argv: list[str] | None
    """Words of the command; None for a text that was given to `sh -c`."""
    cwd: str
    """Working directory; empty: the container's."""
    environment: dict[str, str]
    """Variables that were added to the container's."""
    user: str
    """User; empty: the container's."""
    started: str


class CommandRecord(BegunRecord):
    """Line of `commands.jsonl` for a command that has ended."""

    duration: float
    """Seconds from the call to the end."""
    exit_code: int | None
    """Exit code; None if unknown, see `error`."""
    signal: int | None
    """Signal that ended the command, from its exit code (128 and the signal's number)."""
    oom_killed: bool
    error: str
    """`<class>: <message>` if the command did not end by itself; empty otherwise."""
    stdout: KeptStreamRecord
    stderr: KeptStreamRecord
    pieces: str | list[Piece]
    """Pieces of stdout and stderr in the order of arrival, or the file that has them."""
    resources: ResourceRecord | None


class FileRecord(TypedDict):
    """Path in a container's file system; a value that is unknown or has no meaning is None."""

    path: str
    kind: str | None
    """`file`, `folder`, `link`, `other`."""
    size: int | None
    """Size of a file in bytes."""
    mode: str | None
    """Permissions as octal digits, `0644`."""
    digest: str | None
    """Digest of a file's content, `sha256:…`."""


class ChangesRecord(TypedDict):
    """Content of `changes.json`: changes of a container's file system since the case began.

    Mounts (volumes, tmpfs) are not in it.
    """

    format: int
    added: list[FileRecord]
    changed: list[FileRecord]
    """Changed files, as they are now."""
    deleted: list[str]
    filtered: dict[str, int]
    """Name of a noise rule to the number of paths that it left out."""
    left_out: int
    """Number of paths above the limit, which were not scanned."""
    notes: list[str]
    """Reasons why something is unknown."""


class StateRecord(TypedDict):
    """Content of `state.json`: state of the container when the case ended."""

    format: int
    taken: str
    reason: str
    """Why the state was recorded: what ended the case, or `evidence: always`."""
    running: bool | None
    exit_code: int | None
    oom_killed: bool | None
    """Whether the engine reports a kill for the memory limit."""
    oom_kills: int | None
    """Number of processes that the kernel killed for the memory limit since the start, from the
    cgroup; None if the container does not run."""
    oom_events: int | None
    """Number of times that the engine reported the limit during the case."""
    error: str
    """Error of the engine about the end of the container."""
    kernel_log: list[str]
    """Lines of the node's kernel log about memory and this container."""
    files: list[str]
    """Collected files, relative to the folder."""
    problems: list[str]
    """Reasons why something was not recorded."""
