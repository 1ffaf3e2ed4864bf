"""`Monitor`: what the containers of a node use, sampled all the time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from lisa.node import Node

from lisa_container.config.checks import illegal, positive_seconds
from lisa_container.engine.client import Engine
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.waiting import wait_for
from lisa_container.errors import AlertError, ContainerError, EngineError
from lisa_container.escaping import printable
from lisa_container.masking import Plain
from lisa_container.monitor.alerts import Alert, AlertState, Violation
from lisa_container.monitor.log import UsageLog
from lisa_container.monitor.stream import UsageStream
from lisa_container.monitor.usage import ContainerUsage, NodeUsage, Snapshot, container_usage

_LEAST_INTERVAL = 0.1
# Samples of each container that are kept in memory: an hour at one second.
_KEPT = 3600
# Seconds between two looks at the stream, for a sample that was asked for, and until a stream that
# has ended is started again.
_PERIOD = 0.05
_ANSWER_TIMEOUT = 30.0
_RESTART = 1.0
_SHORT_ID = 12


class Monitor:
    """Sampler of the resources that a node and its containers use; a context manager.

        with Monitor(node) as monitor:
            before = monitor.snapshot()
            container.run("make")
            for change in compare(before, monitor.snapshot()):
                print(change.name, change.cpu)

    A program on the node reads the files of the cgroups (version 1 or 2), for all containers of all
    engines there. It needs Python on the node. The final figures of a container are taken when its
    last process ends, also if it lives for a moment only.

    Args:
        node: LISA node.
        interval: Seconds between two samples, at least 0.1.
        alerts: Limits of figures. One that fails, fails the block of the monitor at its end.

    Attributes:
        violations: Limits that were exceeded so far.
    """

    def __init__(self, node: Node, interval: float = 1.0, alerts: Iterable[Alert] = ()) -> None:
        """Check the arguments; nothing is started before `start`.

        Raises:
            ConfigError: An argument is wrong.
        """
        self.node = node
        self.interval = positive_seconds("interval", interval)
        if self.interval < _LEAST_INTERVAL:
            raise illegal("interval", interval, f"at least {_LEAST_INTERVAL:g} seconds")
        self.violations: list[Violation] = []
        self._alerts = [AlertState(alert) for alert in alerts]
        self._lock = threading.Lock()
        self._last: dict[str, ContainerUsage] = {}
        self._samples: dict[str, deque[ContainerUsage]] = {}
        self._names: dict[str, str] = {}
        self._fields: list[str] = []
        self._node_usage: NodeUsage | None = None
        self._own = 0.0
        self._asked = 0
        self._answered = 0
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._engine: Engine | None = None
        self._stream: UsageStream | None = None
        self._thread: threading.Thread | None = None
        self._log = UsageLog(node)

    def __enter__(self) -> Monitor:
        """Start the monitor."""
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Stop the monitor; raise the violations of alerts that fail, unless an error is raised."""
        self.stop()
        if error is None:
            self.check()

    def start(self) -> Monitor:
        """Start the program on the node, and wait for its first sample.

        Raises:
            EngineError: The node has no engine or no Python, or the program does not run.
            SshLostError: The node cannot be reached.
        """
        if self._thread is None:
            self._engine = ensure_engine(self.node)
            self._stream = UsageStream(self._engine, self.interval)
            self._stopping.clear()
            self._error = None
            self._thread = threading.Thread(target=self._serve, name="monitor", daemon=True)
            self._thread.start()
            try:
                self.snapshot()
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """End the program on the node. The samples stay. Calling it again does nothing."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join(_ANSWER_TIMEOUT)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def snapshot(self) -> Snapshot:
        """Take a sample now, and return it.

        Raises:
            EngineError: The monitor does not run, or its program does not answer.
        """
        if self._thread is None:
            raise EngineError("the monitor does not run: use 'with', or call start()")
        with self._lock:
            self._asked += 1
            number = self._asked
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while self._answered < number:
            if self._error is not None:
                raise self._error
            self._news.clear()
            self._ask()
            wait_for(self._news, _RESTART)
            if time.monotonic() > deadline:
                name = self._engine.name if self._engine else ""
                raise EngineError(
                    f"the monitor of node '{name}' gave no sample in {_ANSWER_TIMEOUT:g} seconds"
                )
        with self._lock:
            assert self._node_usage is not None
            return Snapshot(self._node_usage.time, self._node_usage, dict(self._last))

    def samples(self, container: str) -> list[ContainerUsage]:
        """Return the samples of a container, at most the last 3600; of one name, the last one's.

        Args:
            container: Name or id.
        """
        with self._lock:
            for id in reversed(list(self._samples)):
                if container in (id, self._names.get(id)):
                    return list(self._samples[id])
        return []

    def check(self) -> None:
        """Raise an error if an alert that fails was violated.

        Raises:
            AlertError: A limit was exceeded; the message lists all.
        """
        failed = [str(violation) for violation in self.violations if violation.alert.fails]
        if failed:
            raise AlertError(failed)

    @property
    def overhead(self) -> float:
        """Processor time of the program on the node so far, in seconds."""
        return self._own

    def _ask(self) -> None:
        stream = self._stream
        with contextlib.suppress(Exception):  # the other thread starts it again
            if stream is not None:
                stream.ask(self._asked)

    def _serve(self) -> None:
        while not self._stopping.wait(_PERIOD):
            try:
                if self._stream is None:
                    self._restart()
                    continue
                for line in self._stream.lines():
                    self._take(line)
            except (EOFError, OSError, ContainerError) as error:
                stream, self._stream = self._stream, None
                if stream is not None:
                    stream.close()
                self.node.log.debug(f"the monitor's stream has ended: {printable(error)}")
            except Exception as error:  # for the thread that asks
                self._error = error
                self._news.set()
                return

    def _restart(self) -> None:
        """Start the program again: LISA closes its connection to the node after each case."""
        if not self._stopping.wait(_RESTART):
            assert self._engine is not None
            self._stream = UsageStream(self._engine, self.interval)

    def _take(self, line: Mapping[str, Any]) -> None:
        if "fields" in line:
            self._fields = [str(name) for name in line["fields"]]
            return
        at = float(line["time"])
        ended = [(id, values, True) for id, values in line.get("ended", {}).items() if values]
        found = [(id, values, False) for id, values in line.get("used", {}).items()]
        self._find_names([id for id, _, _ in found + ended])
        new = [
            container_usage(id, self._name(id), at, is_final, self._fields, values)
            for id, values, is_final in found + ended
        ]
        violations = []
        with self._lock:
            for usage in new:
                last = self._last.get(usage.id)
                for state in self._alerts:
                    violation = state.check(last, usage)
                    if violation is not None:
                        violations.append(violation)
                self._last[usage.id] = usage
                self._samples.setdefault(usage.id, deque(maxlen=_KEPT)).append(usage)
            if "node" in line:
                self._node_usage = NodeUsage(time=at, **line["node"])
                self._own = float(line["own"])
                self._answered = max(self._answered, int(line["asked"] or 0))
            node = self._node_usage if "node" in line else None
        for violation in violations:
            self.violations.append(violation)
            self.node.log.warning(Plain(f"alert: {printable(violation)}"))
        self._log.write(at, node, new)
        self._news.set()

    def _name(self, id: str) -> str:
        return self._names.get(id, id[:_SHORT_ID])

    def _find_names(self, ids: Iterable[str]) -> None:
        """Ask the engine for the names of new containers."""
        unknown = [id for id in ids if id not in self._names]
        if not unknown or self._engine is None:
            return
        with contextlib.suppress(EngineError), self._engine.errors():
            for each in self._engine.api.containers(all=True):
                names = each.get("Names") or []
                if names:
                    self._names[str(each["Id"])] = str(names[0]).lstrip("/")
        for id in unknown:
            self._names.setdefault(id, id[:_SHORT_ID])
