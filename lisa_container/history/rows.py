"""Validated rows of the index, made from records."""

from __future__ import annotations

from dataclasses import dataclass

from lisa_container.history.fields import Fields


@dataclass(frozen=True)
class RunRow:
    """Row for a `run.json`."""

    run: str
    name: str
    started: str
    ended: str | None
    message: str
    runner: str
    versions: str

    @classmethod
    def of(cls, fields: Fields, folder: str) -> RunRow:
        """Make a row from a record.

        Args:
            fields: fields of the record.
            folder: name of the run's folder; the id of a run whose record has none.
        """
        return cls(
            run=fields.text("run") or folder,
            name=fields.text("name"),
            started=fields.moment("started"),
            ended=fields.moment("ended") or None,
            message=fields.text("message"),
            runner=fields.text("runner"),
            versions=fields.json("versions"),
        )


@dataclass(frozen=True)
class CaseRow:
    """Row for a line of `results.jsonl`, or for a `case.json`."""

    result: str
    parent: str
    suite: str
    name: str
    status: str
    message: str
    started: str | None
    duration: float | None

    @classmethod
    def of(cls, fields: Fields) -> CaseRow:
        """Make a row from a record.

        Args:
            fields: fields of the record.
        """
        return cls(
            result=fields.text("id"),
            parent=fields.text("parent"),
            suite=fields.text("suite"),
            name=fields.text("name"),
            status=fields.text("status"),
            message=fields.text("message"),
            started=fields.moment("started") or None,
            duration=fields.seconds("duration"),
        )


@dataclass(frozen=True)
class ContainerRow:
    """Row for a `container.json`, without the image."""

    container_id: str
    node: str
    engine: str
    suite: str
    case: str
    started: str | None
    ended: str | None
    exit_code: int | None
    oom_killed: int | None
    config: str

    @classmethod
    def of(cls, fields: Fields) -> ContainerRow:
        """Make a row from a record.

        Args:
            fields: fields of the record.
        """
        return cls(
            container_id=fields.text("id"),
            node=fields.text("node"),
            engine=fields.text("engine"),
            suite=fields.text("suite"),
            case=fields.text("case"),
            started=fields.moment("started") or None,
            ended=fields.moment("ended") or None,
            exit_code=fields.whole("exit_code"),
            oom_killed=fields.whole("oom_killed"),
            config=fields.json("config"),
        )


@dataclass(frozen=True)
class ToolRow:
    """Row for an entry of `tools.json`."""

    name: str
    version: str
    manager: str
    command: str
    origin: str
    checksum: str

    @classmethod
    def of(cls, fields: Fields) -> ToolRow:
        """Make a row from a record.

        Args:
            fields: fields of the record.
        """
        return cls(**{name: fields.text(name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class CommandRow:
    """Row for a line of `commands.jsonl`."""

    n: int
    state: str
    command: str
    cwd: str
    user: str
    started: str | None
    duration: float | None
    exit_code: int | None
    signal: int | None
    error: str
    stdout_bytes: int | None
    stderr_bytes: int | None
    cpu: float | None
    memory_peak: int | None
    read_bytes: int | None
    written_bytes: int | None

    @classmethod
    def of(cls, fields: Fields) -> CommandRow:
        """Make a row from a record.

        Args:
            fields: fields of the record.
        """
        used = fields.part("resources")
        return cls(
            n=fields.whole("n") or 0,
            state=fields.text("state"),
            command=fields.text("command"),
            cwd=fields.text("cwd"),
            user=fields.text("user"),
            started=fields.moment("started") or None,
            duration=fields.seconds("duration"),
            exit_code=fields.whole("exit_code"),
            signal=fields.whole("signal"),
            error=fields.text("error"),
            stdout_bytes=fields.part("stdout").whole("bytes"),
            stderr_bytes=fields.part("stderr").whole("bytes"),
            cpu=used.seconds("cpu"),
            memory_peak=used.whole("memory_peak"),
            read_bytes=used.whole("read"),
            written_bytes=used.whole("written"),
        )
