"""Renewing a lease from this process, until it ends or is told to stop."""

from __future__ import annotations

import atexit
import contextlib
import logging
import shlex
import threading
import time

import paramiko

from lisa_container.engine.lease.shell import Lines, NodeShell, run_program
from lisa_container.engine.lease.tag import TAG
from lisa_container.errors import ContainerError, SshLostError

# A lease is renewed so many times in its TTL. The node hears of a slow runner early enough.
_TIMES = 4
# How long (seconds) a renewal may stay unanswered before another connection is tried, at the least.
_PATIENCE = 2.0
# How long (seconds) to wait at most before the next try to reach a node that does not answer.
_RETRY = 5.0
# After so many TTLs without an answer the lease is gone for sure, and perhaps the node.
_GIVE_UP = 2

_FAILURES = (ContainerError, paramiko.SSHException, EOFError, OSError)


class Renewal:
    """Renews one lease, from a thread of its own.

    It holds no LISA node: when LISA drops that, this ends the lease.

    Args:
        shell: of the node.
        folder: of the lease, there.
        lease: its id.
        ttl: seconds.
        log: for what nobody asked for.
    """

    def __init__(
        self, shell: NodeShell, folder: str, lease: str, ttl: int, log: logging.Logger
    ) -> None:
        self.folder = folder
        self.lease = lease
        self.ttl = ttl
        self.shell = shell
        self._log = log
        self._heard = now()
        self._lines: Lines | None = None
        self._wake = threading.Event()
        self._is_abandoned = False
        self._is_ended = False
        self._expired = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        _renewals.add(self)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it has expired, as far as is known here, or was ended."""
        return self._expired.is_set() or self._is_ended

    @property
    def has_expired(self) -> bool:
        """Whether the node has given the run up. Asks the node where there is a doubt.

        Raises:
            SshLostError: it cannot be asked.
        """
        if not self._expired.is_set() and not self._is_ended:
            there = f"[ -d {self.folder} ] && [ ! -e {self.folder}/expired ] && echo there"
            is_there = bool(self.shell.run(there).strip())
            self._heard = now()
            if not is_there:
                self._expire()
        return self._expired.is_set()

    @property
    def is_doubtful(self) -> bool:
        """Whether the node has not been heard for half the TTL: this machine may have slept."""
        return now() - self._heard > self.ttl / 2

    def abandon(self) -> None:
        """End it soon, from its own thread. Does nothing by itself, so it may be a finalizer."""
        self._is_abandoned = True
        self._wake.set()

    def end(self, is_reachable: bool = False) -> None:
        """End the lease: what is still there of it goes. Harmless where it ended already.

        Args:
            is_reachable: whether the node is known to answer.
        """
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
            self._wake.set()
            if threading.current_thread() is not self._thread:
                self._thread.join(2 * _PATIENCE)
            self._close()
            try:
                # A node that has not been heard may be gone for good, and LISA waits long for such.
                # Of one that has expired a relay may be left that was started since.
                is_hopeful = self.shell.is_connected or not self.is_doubtful
                if is_reachable or (is_hopeful and self.shell.answers()):
                    self._end_there()
            except _FAILURES as error:
                # The watcher will end it.
                self._log.debug(f"lease {self.lease} on '{self.shell.name}' not ended: {error}")
            finally:
                self.shell.close()
                _renewals.discard(self)  # now: the end of the process waits for this

    def _end_there(self) -> None:
        # LISA may close its connection meanwhile. Done twice, it does no harm.
        for is_last in (False, False, True):
            try:
                run_program(self.shell, "end", self.folder)
                return
            except SshLostError:
                if is_last:
                    raise

    def _renew(self) -> None:
        period = self.ttl / _TIMES
        count, anew, said = 0, False, ""
        while not self._wake.wait(min(period, _RETRY) if said else period):
            try:
                if self._lines is None:
                    if not self.shell.answers():
                        raise ConnectionError("the node does not answer")
                    self._lines = self.shell.lines(self._command(), anew)
                    anew = False
                count += 1
                self._lines.send(str(count))
                self._listen()
                said = ""
            except Exception as error:
                anew = isinstance(error, TimeoutError)
                if not said:  # once, not with each try
                    self._log.debug(f"lease on '{self.shell.name}' not renewed, trying: {error}")
                said = str(error) or type(error).__name__
                self._close()
            if now() - self._heard > _GIVE_UP * self.ttl:
                self._expire()
            if self._expired.is_set():
                break
        if self._is_abandoned:
            self.end()
        elif self._expired.is_set():
            self._close()
            self.shell.close()

    def _listen(self) -> None:
        """Wait for the answer."""
        assert self._lines is not None
        patience = max(_PATIENCE, self.ttl / _TIMES)
        asked = now()
        said = self._lines.received()
        while not said and not self._wake.wait(0.05):
            if now() - asked > patience:
                raise TimeoutError("no answer")
            said = self._lines.received()
        if "gone" in said:
            self._expire()
        elif said:
            self._heard = now()

    def _command(self) -> str:
        beat = shlex.join(["env", f"{TAG}={self.lease}", "sh", f"{self.folder}/node.sh", "beat"])
        return f"[ -d {self.folder} ] || {{ echo gone; exit; }}; exec {beat} {self.folder}"

    def _expire(self) -> None:
        if not self._expired.is_set():
            self._expired.set()
            self._log.warning(
                f"the lease of this run on node '{self.shell.name}' has expired: for "
                f"{self.ttl} seconds nothing was heard of this process there, and all that it had "
                "made on the node was removed"
            )

    def _close(self) -> None:
        lines, self._lines = self._lines, None
        if lines is not None:
            with contextlib.suppress(*_FAILURES):
                lines.close()


def now() -> float:
    """Seconds that also pass while this machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


# Not ended yet. Registered before anything that makes containers: ended after that has cleaned up.
_renewals: set[Renewal] = set()


@atexit.register
def _end_all() -> None:
    for renewal in list(_renewals):
        renewal.end()
