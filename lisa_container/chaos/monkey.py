"""`ChaosMonkey`: a schedule of random faults, while a steady state is checked all the time."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable

from lisa_container.chaos.fault import Fault
from lisa_container.chaos.injector import FailureInjector
from lisa_container.chaos.target import Select
from lisa_container.config.checks import illegal, positive_seconds
from lisa_container.errors import ContainerError, FaultError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

# Seconds between two checks of the steady state.
_CHECK_PERIOD = 0.2


@dataclass(frozen=True)
class PlannedFault:
    """Fault of a schedule.

    Attributes:
        at: Seconds after the begin of the run.
        fault: The fault, with a duration.
        seed: Seed of the choice of its target.
    """

    at: float
    fault: Fault
    seed: int

    def __str__(self) -> str:
        """Return a line for a dry run."""
        return f"{self.at:8.1f} s  {self.fault}"


@dataclass(frozen=True)
class FaultOutcome:
    """End of a fault of a schedule.

    Attributes:
        planned: The fault.
        container: Name of the container that it hit; empty if it hit none.
        error: Why it did not bite; empty if it did.
    """

    planned: PlannedFault
    container: str
    error: str = ""


@dataclass(frozen=True)
class ChaosReport:
    """Result of a run of random faults, computed from samples.

    Attributes:
        seed: Seed of the schedule.
        outcomes: End of each fault, in order.
        samples: Time of each check in seconds after the begin, and whether it found the steady
            state.
    """

    seed: int
    outcomes: tuple[FaultOutcome, ...]
    samples: tuple[tuple[float, bool], ...]

    @property
    def uptime(self) -> float:
        """Share of the time in the steady state, from 0 to 1: a sample counts until the next."""
        spans = [
            (late - early, is_steady)
            for (early, is_steady), (late, _) in zip(self.samples, self.samples[1:])
        ]
        total = sum(seconds for seconds, _ in spans)
        return sum(seconds for seconds, is_steady in spans if is_steady) / total if total else 0.0

    @property
    def outages(self) -> list[float]:
        """Length of each time outside of the steady state, in seconds."""
        found, begin = [], None
        for at, is_steady in self.samples:
            if is_steady and begin is not None:
                found.append(at - begin)
                begin = None
            elif not is_steady and begin is None:
                begin = at
        if begin is not None:
            found.append(self.samples[-1][0] - begin)
        return found

    @property
    def recovery(self) -> float:
        """Length of the longest outage in seconds; 0 without one."""
        return max(self.outages, default=0.0)

    def __str__(self) -> str:
        """Return a summary in a few lines."""
        bitten = [outcome for outcome in self.outcomes if not outcome.error]
        lines = [
            f"seed {self.seed}: {len(bitten)} of {len(self.outcomes)} faults, uptime "
            f"{self.uptime:.1%}, {len(self.outages)} outages, the longest {self.recovery:.1f} s"
        ]
        lines += [f"{each.planned}: {each.error or each.container}" for each in self.outcomes]
        return "\n".join(lines)


class ChaosMonkey:
    """Schedule of random faults. The same seed and arguments give the same schedule.

    Args:
        injector: Injector for the containers' nodes.
        faults: Faults to draw from. One without a duration gets a random one.
        targets: Containers to draw from; each fault hits one.
        seconds: Length of the schedule.
        pause: Shortest and longest time between the begins of two faults in seconds.
        durations: Shortest and longest duration of a fault without one in seconds.
        seed: Seed of the schedule; drawn and reported by default.
    """

    def __init__(
        self,
        injector: FailureInjector,
        faults: Sequence[Fault],
        targets: Select,
        seconds: float,
        pause: tuple[float, float] = (2.0, 8.0),
        durations: tuple[float, float] = (1.0, 5.0),
        seed: int | None = None,
    ) -> None:
        """Draw the schedule; nothing is changed before `run`.

        Raises:
            ConfigError: An argument is wrong.
        """
        self.seed = secrets.randbits(32) if seed is None else seed
        self._injector = injector
        self._targets = replace(targets, pick=1)
        self._seconds = positive_seconds("seconds", seconds)
        if not faults:
            raise illegal("faults", [], "a list with at least one fault")
        for name, (least, most) in (("pause", pause), ("durations", durations)):
            if not 0 < least <= most:
                raise illegal(name, (least, most), "two numbers of seconds above 0, in order")
        dice = random.Random(self.seed)
        self.schedule: list[PlannedFault] = []
        """Faults in the order of their begin."""
        at = dice.uniform(*pause)
        while at < self._seconds:
            fault = dice.choice(list(faults))
            duration = fault.duration or dice.uniform(*durations)
            planned = replace(fault, duration=round(duration, 3))
            self.schedule.append(PlannedFault(round(at, 3), planned, dice.randrange(1 << 32)))
            at += dice.uniform(*pause)

    def run(self, is_steady: Callable[[], bool], recovery_seconds: float = 30.0) -> ChaosReport:
        """Inject the faults of the schedule, and check the steady state meanwhile.

        Args:
            is_steady: Function that returns whether all is well. An error of a container or node
                counts as False. Another thread calls it, five times a second at most.
            recovery_seconds: Seconds after the last fault's end until all must be well again.

        Returns:
            The report. A fault that found no target, or did not bite, is in its outcomes.

        Raises:
            FaultError: All is not well before the first fault, or not again after the last one.
        """
        log = self._injector.nodes[0].log
        if not _check(is_steady):
            raise FaultError("the steady state is not there before the first fault")
        log.info(Plain(f"random faults for {self._seconds:g} s; the seed is {self.seed}"))
        begin = time.monotonic()
        samples: list[tuple[float, bool]] = []
        ending = threading.Event()

        def watch() -> None:
            while not ending.is_set():
                at = time.monotonic() - begin
                samples.append((at, _check(is_steady)))
                ending.wait(_CHECK_PERIOD)

        watcher = threading.Thread(target=watch, name="steady state", daemon=True)
        watcher.start()
        outcomes: list[FaultOutcome] = []
        try:
            for planned in self.schedule:
                time.sleep(max(0.0, begin + planned.at - time.monotonic()))
                outcomes.append(self._inject(planned))
            time.sleep(max(0.0, begin + self._seconds - time.monotonic()))
            self._injector.stop_all()
            self._await_steady(samples, time.monotonic() - begin, recovery_seconds)
        finally:
            ending.set()
            watcher.join()
        report = ChaosReport(self.seed, tuple(outcomes), tuple(samples))
        log.info(Plain(printable(report, keep="\n")))
        return report

    def _inject(self, planned: PlannedFault) -> FaultOutcome:
        try:
            dice = random.Random(planned.seed)
            (injected,) = self._injector.inject(planned.fault, self._targets, dice)
        except ContainerError as error:
            # Another fault may have hit the container a moment ago.
            return FaultOutcome(planned, "", str(error))
        return FaultOutcome(planned, injected.target.name)

    def _await_steady(
        self, samples: list[tuple[float, bool]], since: float, seconds: float
    ) -> None:
        deadline = time.monotonic() + seconds
        while not any(at >= since and is_steady for at, is_steady in list(samples)):
            if time.monotonic() > deadline:
                raise FaultError(
                    f"the steady state is not there again {seconds:g} seconds after the last "
                    f"fault; the seed is {self.seed}"
                )
            time.sleep(_CHECK_PERIOD)


def _check(is_steady: Callable[[], bool]) -> bool:
    try:
        return bool(is_steady())
    except ContainerError:
        return False
