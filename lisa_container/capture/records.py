"""The files of a run's artifacts: where they are and what is in them.

They are below LISA's own folder of the run, in UTF-8, made to be read by people and programs:

    containers/run.json                       RunRecord
    containers/results.jsonl                  ResultRecord, one a line
    containers/<container>/container.json     ContainerRecord
    containers/<container>/commands.jsonl     CommandRecord, one a line: those outside of any case
    containers/<container>/tools.json         what `install` put in, as `executor.installed`
    tests/<case>/case.json                    CaseRecord
    tests/<case>/containers/<container>/
        commands.jsonl                        CommandRecord, one a line: those of the case
        output/00012.stdout                   streams that are too long for the line, or no text
        output/00012.pieces                   the same of its pieces, one JSON array a line
        files/<absolute path>                 files that were asked for
        changes.json                          ChangesRecord
        inspect.json                          what the engine knows of the container
        container.log                         what its first process wrote
        state.json                            StateRecord

Times are ISO 8601 in UTC with microseconds. What is secret is `***`, or what LISA puts there.

These files are the truth; an index over them can be made anew at any time. A process that was
killed, or a full disk, may leave a line of `commands.jsonl` that is not whole, or empty: leave it
out.
"""

# A key that may be missing is told by a class of its own: Python 3.9 has no `NotRequired`.

from __future__ import annotations

from typing import Any, TypedDict

FORMAT = 1
"""The version of all these files. A reader refuses a higher one."""

RUN_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
CONTAINER_FILE = "container.json"
TOOLS_FILE = "tools.json"
COMMANDS_FILE = "commands.jsonl"
CASE_FILE = "case.json"
CHANGES_FILE = "changes.json"
INSPECT_FILE = "inspect.json"
LOG_FILE = "container.log"
STATE_FILE = "state.json"
CONTAINERS_FOLDER, OUTPUT_FOLDER, FILES_FOLDER = "containers", "output", "files"


class _RunRecord(TypedDict):
    format: int
    run: str
    """LISA's id of it (`constants.RUN_ID`)."""
    name: str
    """Of the runbook."""
    started: str
    runner: str
    """Host name of the machine that LISA runs on."""
    pid: int
    versions: dict[str, str]
    """Of `lisa_container`, `lisa` and `python`."""


class RunRecord(_RunRecord, total=False):
    """`run.json`: a run of LISA. Written at its begin and its end."""

    ended: str
    """Missing while it runs, and where it was killed."""
    message: str
    """Why it failed as a whole."""


class ResultRecord(TypedDict):
    """What LISA tells of a case, at its begin and its end, or of a sub-test. The last one with the
    same `id`, `parent` and `name` counts."""

    id: str
    """`TestResult.id_`."""
    parent: str
    """The case that a sub-test is a part of; empty for a case."""
    suite: str
    name: str
    status: str
    """LISA's, in small letters."""
    message: str
    started: str | None
    ended: str | None
    duration: float | None
    """Seconds."""
    folder: str
    """LISA's own of the case, below the run's; empty where it has none."""


class ContainerRecord(TypedDict):
    """`container.json`: a container. Written at its start, and again at its end."""

    format: int
    name: str
    id: str
    node: str
    engine: str
    """`docker 20.10.24` or `podman 4.3.1`."""
    image: str
    """As the config has it; the name that it was given where it was built."""
    image_id: str
    config: dict[str, Any]
    """All fields of `ContainerTestConfig`."""
    suite: str
    """Class name of the suite; empty for a container of no suite."""
    case: str
    """`TestResult.id_` of the case it served; empty where it served several, or none."""
    started: str
    ended: str
    """When it was removed; empty until then, and where the run was killed."""
    exit_code: int | None
    """Of its first process, where anybody has looked after its end."""
    oom_killed: bool | None
    """Whether the engine calls it killed for its memory limit, where anybody has looked."""


class CaseRecord(TypedDict):
    """`case.json`: a case that had a container. Written at its begin, its end, and when LISA tells
    its status."""

    format: int
    id: str
    """`TestResult.id_`."""
    name: str
    suite: str
    started: str
    ended: str
    status: str
    """LISA's, in small letters: `passed`, `failed`, `skipped`, `attempted`; empty until known."""
    message: str
    containers: list[str]
    """Names of those it had."""


class StreamRecord(TypedDict):
    """stdout or stderr of a command. `text` or `file` is left out where there was no output."""

    bytes: int
    """How many the command wrote."""
    cut: int
    """How many of them were dropped, at the end, for being above `capture_limit`."""


class KeptStreamRecord(StreamRecord, total=False):
    """The same with its content."""

    text: str
    file: str
    """Beside `commands.jsonl`: a stream above 1 MiB, or one that is no UTF-8."""
    masked: bool
    """Something secret was in the file, so that offsets of `pieces` do not fit it."""


class ResourceRecord(TypedDict):
    """What the container used while a command ran (`measure: true`). None: the kernel does not
    tell."""

    cpu: float | None
    """Seconds of all CPUs."""
    memory_peak: int | None
    """Bytes, of all in the container. Where its peak lies before the command: what it had after."""
    read: int | None
    """Bytes read from block devices."""
    written: int | None
    """Bytes written to block devices."""
    shared: bool
    """Another command ran in the container meanwhile, and is in the numbers."""


# [seconds since `started`, 1 for stdout or 2 for stderr, bytes]
Piece = tuple[float, int, int]


class BegunRecord(TypedDict):
    """A command that runs: a line of `commands.jsonl` that is written when it has run for a second.
    One with the same `n` takes its place at the end. The last one with an `n` counts."""

    n: int
    """Number of the command in its container, from 1 on, through all its files."""
    state: str
    """`running`, `ended`, or `left`: its container was removed while it ran."""
    command: str
    """As a shell would have it."""
    argv: list[str] | None
    """Its words; None for a text that was given to `sh -c`."""
    cwd: str
    """Empty: the container's own."""
    environment: dict[str, str]
    """What was added to the container's."""
    user: str
    """Empty: the container's own."""
    started: str


class CommandRecord(BegunRecord):
    """A command that has ended."""

    duration: float
    """Seconds from the call to the end."""
    exit_code: int | None
    """None where nobody knows, see `error`."""
    signal: int | None
    """The signal that ended it, as far as its exit code tells (128 and the signal's number)."""
    oom_killed: bool
    error: str
    """`<class>: <message>` where it did not come to its own end; empty otherwise."""
    stdout: KeptStreamRecord
    stderr: KeptStreamRecord
    pieces: str | list[Piece]
    """How stdout and stderr came, in order; or the file with that."""
    resources: ResourceRecord | None


class FileRecord(TypedDict):
    """A path in a container's file system. What is not known, or makes no sense, is None."""

    path: str
    kind: str | None
    """`file`, `folder`, `link`, `other`."""
    size: int | None
    """Bytes, of a file."""
    mode: str | None
    """Permissions as octal digits, `0644`."""
    digest: str | None
    """`sha256:…` of a file's content."""


class ChangesRecord(TypedDict):
    """`changes.json`: what differs in a container's file system from the case's begin. Mounts
    (volumes, tmpfs) are not in it."""

    format: int
    added: list[FileRecord]
    changed: list[FileRecord]
    """As they are now: how they were, nobody has looked."""
    deleted: list[str]
    filtered: dict[str, int]
    """Rule to the number of paths that it left out."""
    left_out: int
    """Paths above the limit, left out without a look."""
    notes: list[str]
    """What could not be told, and why."""


class StateRecord(TypedDict):
    """`state.json`: how the container was at the end of the case."""

    format: int
    taken: str
    reason: str
    """Why it was taken: what ended the case, or `evidence: always`."""
    running: bool | None
    exit_code: int | None
    oom_killed: bool | None
    """As the engine says."""
    oom_kills: int | None
    """How many of its processes the kernel killed for its memory limit, by its cgroup: since its
    start, as long as it runs."""
    oom_events: int | None
    """How often the engine saw that limit reached during the case."""
    error: str
    """What the engine says of its end."""
    kernel_log: list[str]
    """Lines of the node's kernel log about that."""
    files: list[str]
    """What was collected, relative to the folder."""
    problems: list[str]
    """What could not be had, and why."""
