"""Resource monitoring of containers and nodes. See docs/monitor.md."""

from lisa_container.monitor.alerts import Alert
from lisa_container.monitor.compare import Change, compare
from lisa_container.monitor.monitor import Monitor
from lisa_container.monitor.trend import Trend, check_leak, find_trend
from lisa_container.monitor.usage import ContainerUsage, NodeUsage, Snapshot

__all__ = [
    "Alert",
    "Change",
    "ContainerUsage",
    "Monitor",
    "NodeUsage",
    "Snapshot",
    "Trend",
    "check_leak",
    "compare",
    "find_trend",
]
