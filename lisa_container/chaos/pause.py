"""Fault `pause`: all processes of a container are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lisa_container.chaos.fault import Fault, Figures
from lisa_container.chaos.stop import find_container
from lisa_container.chaos.target import Target
from lisa_container.errors import FaultError


@dataclass(frozen=True)
class Pause(Fault):
    """Freeze all processes of a container, as `docker pause`; they go on when the fault ends."""

    kind: ClassVar[str] = "pause"

    def check(self, target: Target) -> None:
        """Refuse a container that does not run, or is paused already."""
        super().check(target)
        if self._is_frozen(target):
            raise FaultError(f"{target} is paused already, and not by this fault")

    def state(self, target: Target) -> str | None:
        """Return the kernel's state of the freezer."""
        now = target.look()
        if now is None or not now.pid:
            return None
        return "frozen" if self._is_frozen(now) else "thawed"

    def strike(self, target: Target, id: str) -> None:
        """Freeze the container."""
        with target.engine.errors(target.name):
            target.engine.api.pause(target.id)

    def undo(self, target: Target, id: str) -> str:
        """Return a script that thaws the container, unless it was removed or does not run."""
        return f"""\
case $client in
curl) request -X POST "http://engine/containers/{target.id}/unpause" >/dev/null ;;
*) engine unpause {target.id} >/dev/null ;;
esac && exit 0
[ ! "$({find_container(target.id)})" ] || [ ! -d /proc/{target.pid} ] || {{
    freezer=$(sed -n 's/^[0-9]*:freezer://p' /proc/{target.pid}/cgroup)
    ! grep -qs 'FROZEN\\|^1' "/sys/fs/cgroup/freezer$freezer/freezer.state" \\
        "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/{target.pid}/cgroup)/cgroup.freeze"
}}"""

    def missing(self, target: Target, before: Figures) -> str:
        """Return why the effect is not seen: the kernel does not call the container frozen."""
        return "" if self._is_frozen(target) else f"{target} is not frozen"

    @staticmethod
    def _is_frozen(target: Target) -> bool:
        pid = target.pid
        said = target.run(
            f"cat /sys/fs/cgroup/freezer$(sed -n 's/^[0-9]*:freezer://p' /proc/{pid}/cgroup)"
            f"/freezer.state /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/{pid}/cgroup)/cgroup.events "
            "2>/dev/null || :"
        )
        return "FROZEN" in said or "frozen 1" in said
