"""`FailureInjector`: begin faults, see them bite, end them, and see that they are gone."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lisa.node import Node

from lisa_container.chaos.fault import Fault
from lisa_container.chaos.listing import describe
from lisa_container.chaos.target import Select, Target, Targets
from lisa_container.config.checks import illegal
from lisa_container.container.container import Container
from lisa_container.engine.client import Engine
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import ContainerError, FaultError, NoBiteError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

# Seconds between two looks for the effect.
_PERIOD = 0.2


@dataclass(frozen=True)
class Injected:
    """Fault that was seen to bite.

    Attributes:
        id: Id of the fault.
        fault: The fault.
        target: The container, as it was before.
        seconds: Seconds from the strike until its effect was seen.
    """

    id: str
    fault: Fault
    target: Target
    seconds: float

    def __str__(self) -> str:
        """Return the fault and its target, for messages."""
        return f"fault '{self.fault.kind}' ({self.id}) of {self.target}"


class FailureInjector:
    """Injector of faults into the containers of nodes; a context manager.

        with FailureInjector(node) as chaos:
            chaos.inject(Partition(), "web-1")

    The script that ends a fault is stored on the node before the fault begins, with the run's
    lease: a fault ends with the run at the latest, also if the runner is killed.

    Args:
        nodes: A LISA node, or several. Their user is root or has sudo.
        seed: Seed of the random choices.
    """

    def __init__(self, nodes: Node | Sequence[Node], seed: int | None = None) -> None:
        """Begin without a fault."""
        self.nodes = [nodes] if isinstance(nodes, Node) else list(nodes)
        if not self.nodes:
            raise illegal("nodes", [], "a LISA node, or a list with at least one")
        self.seed = secrets.randbits(32) if seed is None else seed
        self._dice = random.Random(self.seed)
        self._active: dict[str, Injected] = {}
        # State before each active fault, which must be there again after it.
        self._states: dict[str, str | None] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> FailureInjector:
        """Return this injector."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End all faults. An error about that is logged where another error is on its way."""
        try:
            self.stop_all()
        except ContainerError as failure:
            if error is None:
                raise
            self.nodes[0].log.warning(Plain(printable(failure)))

    @property
    def active(self) -> list[Injected]:
        """Faults that have begun and not ended, in the order of their begin."""
        with self._lock:
            return list(self._active.values())

    def inject(
        self, fault: Fault, targets: Targets, dice: random.Random | None = None
    ) -> list[Injected]:
        """Begin a fault in one or several containers, and wait until its effect is seen.

        Args:
            fault: The fault.
            targets: A container, the name of one, or a `Select`.
            dice: Source of the random choice of a `Select`; the injector's own by default.

        Returns:
            The fault in each container.

        Raises:
            NoTargetError: No running container fits.
            FaultError: The node cannot do it, or a foreign setting is in the way; nothing was
                changed.
            NoBiteError: The fault has begun, but no effect was seen. It was ended.
            EngineError: The engine refused.
        """
        begun: list[Injected] = []
        try:
            for target in self._find(targets, dice or self._dice):
                begun.append(self._begin(fault, target))
        except BaseException:
            for each in begun:
                self.stop(each)
            raise
        return begun

    def stop(self, injected: Injected | str) -> None:
        """End a fault, and check that the state is as before. A fault that has ended is ignored.

        Args:
            injected: The fault or its id.

        Raises:
            FaultError: It could not be ended, or the state differs from that before.
        """
        id = injected if isinstance(injected, str) else injected.id
        with self._lock:
            found = self._active.get(id)
            timer = self._timers.pop(id, None)
        if timer is not None:
            timer.cancel()
        if found is None:
            return
        # If it cannot end now, it stays among the active ones. A frozen container, for example,
        # keeps the processes of other faults.
        self._end(found.target.engine, id)
        state = found.fault.state(found.target)
        with self._lock:
            if id not in self._active:
                return  # another thread has ended it, too
            alike = [each for each in self._active.values() if _is_alike(each, found)]
            later = alike[alike.index(found) + 1 :]
            del self._active[id]
            before = self._states.pop(id)
            for number, each in enumerate(later):
                # The state before this fault is to be there when the next one is over. What the
                # others have seen before them had this fault in it.
                self._states[each.id] = None if number else before
        if not later and state is not None and before is not None and state != before:
            raise FaultError(
                f"{found} is over, but the state differs. Before: {before!r}; now: {state!r}"
            )

    def stop_all(self) -> None:
        """End all faults, the last one first.

        Raises:
            FaultError: Some could not be ended; the message lists them.
        """
        failures = []
        for each in reversed(self.active):
            try:
                self.stop(each)
            except ContainerError as error:
                failures.append(str(error))
        if failures:
            raise FaultError("\n".join(failures))

    def _find(self, targets: Targets, dice: random.Random) -> list[Target]:
        if isinstance(targets, Container):
            return [Target.of(targets.engine, targets.id)]
        select = Select(names=(targets,)) if isinstance(targets, str) else targets
        return select.find([ensure_engine(node) for node in self.nodes], dice)

    def _begin(self, fault: Fault, target: Target) -> Injected:
        engine, id = target.engine, secrets.token_hex(6)
        _require_root(engine)
        fault.check(target)
        state, before = fault.state(target), fault.measure(target)
        undo = fault.undo(target, id)
        if undo:
            Lease.of(engine).store_fault(id, describe(fault.kind, target.name), undo)
        try:
            begin = time.monotonic()
            fault.strike(target, id)
            missing = fault.missing(target, before)
            while missing and time.monotonic() - begin < fault.bite_seconds:
                time.sleep(_PERIOD)
                missing = fault.missing(target, before)
            if missing:
                raise NoBiteError(
                    f"fault '{fault.kind}' of {target} has no effect: {missing}. It was ended"
                )
        except BaseException:
            if undo:
                self._end(engine, id)
            raise
        injected = Injected(id, fault, target, time.monotonic() - begin)
        if undo:
            with self._lock:
                self._active[id], self._states[id] = injected, state
            if fault.duration is not None:
                self._stop_after(injected, fault.duration)
        engine.node.log.info(Plain(f"{injected} bites after {injected.seconds:.1f} s"))
        return injected

    def _stop_after(self, injected: Injected, seconds: float) -> None:
        def end() -> None:
            try:
                self.stop(injected)
            except ContainerError as error:
                injected.target.engine.node.log.warning(Plain(printable(error)))

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        with self._lock:
            self._timers[injected.id] = timer
        timer.start()

    @staticmethod
    def _end(engine: Engine, id: str) -> None:
        try:
            Lease.of(engine).end_fault(id)
        except ContainerError as error:
            raise FaultError(str(error)) from error


def _require_root(engine: Engine) -> None:
    """Refuse a node whose lease is not root's: its watcher could not end the faults.

    Raises:
        FaultError: The node's user reaches the engine without root.
    """
    if shell_of(engine).run("id -u").strip() != "0":
        raise FaultError(
            f"the user of node '{engine.name}' uses its engine without sudo, so nothing there "
            "could end a fault after a kill of this process: log in as root, or as a user outside "
            "of the group docker who has sudo"
        )


def _is_alike(one: Injected, other: Injected) -> bool:
    """Return whether two faults change the same state."""
    return one.fault.kind == other.fault.kind and one.target.id == other.target.id
