"""Failure injection: faults that bite, and that are gone afterwards. See docs/chaos.md."""

from lisa_container.chaos.cpu import CpuStress
from lisa_container.chaos.decorator import with_fault
from lisa_container.chaos.disk import DiskFull
from lisa_container.chaos.fault import Fault
from lisa_container.chaos.injector import FailureInjector, Injected
from lisa_container.chaos.kill import Kill
from lisa_container.chaos.memory import MemoryPressure
from lisa_container.chaos.monkey import ChaosMonkey, ChaosReport
from lisa_container.chaos.network import NetworkFault
from lisa_container.chaos.partition import Partition
from lisa_container.chaos.pause import Pause
from lisa_container.chaos.remove import Remove
from lisa_container.chaos.restart import Restart
from lisa_container.chaos.stop import Stop
from lisa_container.chaos.target import Select, Target

__all__ = [
    "ChaosMonkey",
    "ChaosReport",
    "CpuStress",
    "DiskFull",
    "FailureInjector",
    "Fault",
    "Injected",
    "Kill",
    "MemoryPressure",
    "NetworkFault",
    "Partition",
    "Pause",
    "Remove",
    "Restart",
    "Select",
    "Stop",
    "Target",
    "with_fault",
]
