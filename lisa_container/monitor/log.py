"""Samples in the files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lisa.node import Node

from lisa_container.monitor.usage import ContainerUsage, NodeUsage
from lisa_container.naming import node_name
from lisa_container.recording.files import append, json_line, run_folder
from lisa_container.recording.records import CONTAINERS_FOLDER, USAGE_FILE, UsageRecord
from lisa_container.recording.trouble import report_unwritten


class UsageLog:
    """Writer of samples into the folder of the run; outside of a run it writes nothing.

    Args:
        node: Node of the samples.
    """

    def __init__(self, node: Node) -> None:
        """Write nothing yet."""
        self._node = node

    def write(
        self, at: float, node: NodeUsage | None, containers: Sequence[ContainerUsage]
    ) -> None:
        """Write a sample as a line, a `UsageRecord`.

        Args:
            at: Time of the sample by the node's clock, in seconds since 1970.
            node: Figures of the node; None where only the end of a container is told.
            containers: Figures of the containers.
        """
        run = run_folder()
        if run is None:
            return
        folder: Path = run / CONTAINERS_FOLDER
        record: UsageRecord = {
            "node": node_name(self._node),
            "time": at,
            "usage": asdict(node) if node else None,
            "containers": [asdict(each) for each in containers],
        }
        try:
            append(folder / USAGE_FILE, json_line(record))
        except OSError as error:
            report_unwritten(self._node.log, "what containers use", folder, error)
