"""Renewal of a lease from this process, until the process ends or stops it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import re
import threading
import time

import paramiko

from lisa_container.engine.lease.order import Armed, Order
from lisa_container.engine.lease.shell import NodeCommand, NodeShell, run_program
from lisa_container.engine.lease_id import TAG
from lisa_container.errors import ContainerError, EngineError, SshLostError
from lisa_container.escaping import printable
from lisa_container.forks import Belongings
from lisa_container.masking import Plain

# Renewals in one TTL, so that a slow runner still renews in time.
_TIMES = 4
# Least time (seconds) to wait for the answer to a renewal before another connection is tried.
_PATIENCE = 2.0
# Longest pause (seconds) between two tries to reach a node that does not answer.
_RETRY = 5.0
# Most connections at once: the one in use, and one that is tried since that one does not answer.
_CONNECTIONS = 2

# Answer of the node to a renewal, with its number.
_ANSWER = re.compile(r"^ok (\d+)$", re.MULTILINE)

_FAILURES = (ContainerError, paramiko.SSHException, EOFError, OSError)


class Renewal:
    """Thread that renews one lease.

    It has no reference to the LISA node, so that the lease ends when LISA drops the node.

    Args:
        shell: shell of the node.
        order: order for the lease.
        armed: the lease that the node has made for it.
        log: log for events in the background.
    """

    def __init__(self, shell: NodeShell, order: Order, armed: Armed, log: logging.Logger) -> None:
        """Start the thread."""
        self.shell = shell
        self.folder = armed.folder
        self.lease = order.id
        self.ttl = order.ttl
        self._order = order
        self._boot = armed.boot
        self._files: list[str] = []
        self._log = log
        # When the last renewal that got an answer was sent. Its answer may be read much later, if
        # this process was stopped meanwhile.
        self._last_answer = now()
        self._sent: dict[str, float] = {}
        self._commands: list[NodeCommand] = []
        self._opening: threading.Thread | None = None
        self._wake = threading.Event()
        self._is_abandoned = False
        self._is_ended = False
        self._expired = threading.Event()
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        _renewals.add(self)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the lease was ended, or is known here to have expired."""
        return self._expired.is_set() or self._is_ended

    @property
    def has_expired(self) -> bool:
        """Whether the lease has expired, which the node is asked if it is not known here.

        Raises:
            SshLostError: the node cannot be reached.
            EngineError: the node cannot tell.
        """
        if not self.is_over:
            self._ask()
        return self._expired.is_set()

    @property
    def is_doubtful(self) -> bool:
        """Whether the last answer is older than half the TTL, for example after a suspend."""
        return now() - self._last_answer > self.ttl / 2

    def file(self, path: str) -> None:
        """Remove a path of the node with the lease; see `Lease.file`."""
        self._files.append(path)
        run_program(self.shell, "file", self.folder, path)

    def make_folder(self, parent: str) -> str:
        """Make a folder that ends with the lease; return its path, empty if that failed."""
        made = run_program(self.shell, "folder", self.folder, parent).strip()
        if made:
            self._files.append(made)
        return made

    def store_fault(self, name: str, undo: str) -> bool:
        """Store the script that ends a fault; return whether the node has it now."""
        return run_program(self.shell, "fault", self.folder, name, undo).strip() == "stored"

    def end_fault(self, name: str) -> bool:
        """Run the script that ends a fault; return whether that succeeded."""
        return run_program(self.shell, "calm", self.folder, name).strip() == "calm"

    def abandon(self) -> None:
        """Let the thread end the lease soon; this never waits, so it may be a finalizer."""
        self._is_abandoned = True
        self._wake.set()

    def end(self, is_reachable: bool = False) -> None:
        """End the lease and remove its resources. A second call does nothing.

        Args:
            is_reachable: the node is known to answer.
        """
        if self not in _renewals:
            return  # the parent of this process renews the lease
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
            self._wake.set()
            if threading.current_thread() is not self._thread:
                self._thread.join(2 * _PATIENCE)
            self._close()
            try:
                # A node that does not answer may be lost, and LISA would wait long for it. After an
                # expiry, a relay may be left that was started later.
                is_hopeful = self.shell.is_connected or not self.is_doubtful
                if is_reachable or (is_hopeful and self.shell.answers()):
                    self._end_there()
            except _FAILURES as error:
                # The watcher will end the lease.
                self._log.debug(
                    f"lease {self.lease} on '{self.shell.name}' not ended: {printable(error)}"
                )
            finally:
                self.shell.close()
                _renewals.discard(self)  # last, since the end of the process waits for it

    def _end_there(self) -> None:
        # LISA may close its connection meanwhile, so try again; a second run does no harm.
        for is_last in (False, False, True):
            try:
                run_program(self.shell, "end", self.folder)
                return
            except SshLostError:
                if is_last:
                    raise

    def _renew(self) -> None:
        period = self.ttl / _TIMES
        count, pause, failure = 0, period, ""
        while not self._wake.wait(pause):
            began, count = now(), count + 1
            try:
                self._send(str(count))
                self._await_answer(max(_PATIENCE, period))
                failure = ""
            except Exception as error:
                if not failure:  # log only the first of several failures
                    self._log.debug(
                        f"lease on '{self.shell.name}' not renewed, trying: {printable(error)}"
                    )
                failure = str(error) or type(error).__name__
            if self._expired.is_set():
                break
            pause = max(0.0, (min(period, _RETRY) if failure else period) - (now() - began))
        if self._is_abandoned:
            self.end()
        elif self._expired.is_set():
            self._close()
            self.shell.close()

    def _send(self, line: str) -> None:
        """Send a renewal over each connection; open one if there is none."""
        if not self._commands:
            if not self.shell.answers():
                raise ConnectionError("the node does not answer")
            self._open(reconnect=False)
        self._sent[line] = now()
        for command in list(self._commands):
            try:
                command.send(line)
            except _FAILURES:
                self._drop(command)

    def _await_answer(self, patience: float) -> None:
        """Wait for the answer to a renewal.

        A slow answer closes no connection: on a busy machine another login takes even longer.

        Args:
            patience: seconds to wait.

        Raises:
            ConnectionError: all connections have ended.
            TimeoutError: no answer came; another connection is being tried.
        """
        asked = now()
        while not self._receive():
            if not self._commands:
                raise ConnectionError("the connection has ended")
            if now() - asked > patience:
                self._open_another()
                raise TimeoutError("no answer")
            if self._wake.wait(0.05):
                return

    def _receive(self) -> bool:
        """Return whether an answer has come; then close the connections without one."""
        for command in list(self._commands):
            try:
                answer = command.receive()
            except _FAILURES:
                self._drop(command)
                continue
            if "gone" in answer:
                self._drop(command)
                self._ask()
                return True
            numbers = _ANSWER.findall(answer)
            if numbers:
                for number in numbers:
                    self._last_answer = max(self._last_answer, self._sent.get(number, 0.0))
                later = {key: at for key, at in self._sent.items() if at > self._last_answer}
                self._sent = later
                for other in [each for each in self._commands if each is not command]:
                    self._drop(other)
                return True
        return False

    def _open(self, reconnect: bool) -> None:
        self._commands.append(self.shell.start(self._beat_command(), reconnect))

    def _open_another(self) -> None:
        """Begin to open a connection beside the one that does not answer."""
        is_opening = self._opening is not None and self._opening.is_alive()
        if is_opening or len(self._commands) >= _CONNECTIONS:
            return

        def work() -> None:
            with contextlib.suppress(*_FAILURES):
                if self.shell.answers():
                    self._open(reconnect=True)
            if self.is_over:
                self._close()

        self._opening = threading.Thread(target=work, name="lease-connection", daemon=True)
        self._opening.start()

    def _beat_command(self) -> str:
        # The folder is checked from inside, so that no other folder can replace it meanwhile.
        return (
            f"cd {self.folder} && [ -O . ] && ls -ld . | grep -q '^drwx--[-S]---' || "
            "{ echo gone; exit; }; "
            f"exec env {TAG}={self.lease} sh ./node.sh beat {self.folder} {self.shell.way}"
        )

    def _ask(self) -> None:
        """Ask the node what has become of the lease; take it up again if a reboot has ended it.

        Raises:
            SshLostError, EngineError: the node did not tell.
        """
        with self._asking:
            if self.is_over:
                return
            # Within the TTL the lease has not expired; something else removed its folder.
            asked = now()
            is_recent = asked - self._last_answer < self.ttl
            boot, condition = self._order.condition(self.shell, self.folder)
            if condition == "alive":
                self._last_answer = asked
            elif condition == "expired":
                self._expire()
            elif boot != self._boot or condition == "lost" or is_recent:
                self._take_up()
            elif condition == "gone":
                self._expire()
            else:
                raise EngineError(f"the engine of node '{self.shell.name}' does not answer")

    def _take_up(self) -> None:
        asked = now()
        armed = self._order.arm(self.shell)
        self.folder, self._boot = armed.folder, armed.boot
        self._last_answer = asked
        for path in self._files:
            run_program(self.shell, "file", self.folder, path)
        self._log.info(
            Plain(
                f"the lease of this run on node '{self.shell.name}' was lost, for example by a "
                "reboot, and has been restored"
            )
        )

    def _expire(self) -> None:
        if not self._expired.is_set():
            self._expired.set()
            self._log.warning(
                Plain(
                    f"the lease of this run on node '{self.shell.name}' has expired: for "
                    f"{self.ttl} seconds the node got no renewal, so it removed all that this "
                    "process had made there"
                )
            )

    def _drop(self, command: NodeCommand) -> None:
        with contextlib.suppress(ValueError):
            self._commands.remove(command)
        with contextlib.suppress(*_FAILURES):
            command.close()

    def _close(self) -> None:
        for command in list(self._commands):
            self._drop(command)


def now() -> float:
    """Return a monotonic time in seconds that also counts suspends, if the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


# Renewals that have not ended. Registered before modules that make containers, so that these clean
# up first at the end of the process.
_renewals: Belongings[Renewal] = Belongings()


@atexit.register
def _end_all() -> None:
    for renewal in _renewals:
        renewal.end()
