"""Kept containers and frozen VMs of failed tests, listed at the end of pytest's output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter  # pytest 7 has no public name for it

KEPT = "kept containers"
"""Title of the section in a report, with one line for each container."""


FROZEN = "frozen virtual machines"
"""Title of the section in a report, with one line for each virtual machine."""


def show(reporter: TerminalReporter) -> None:
    """List the kept containers and frozen VMs of all tests, which may have run in other processes.

    Args:
        reporter: Reporter of pytest, with the reports of all tests.
    """
    for title in (KEPT, FROZEN):
        lines = [
            line
            for outcome in ("failed", "error")
            for report in reporter.stats.get(outcome, ())
            for found, text in getattr(report, "sections", ())
            if found == title
            for line in text.splitlines()
        ]
        if lines:
            reporter.section(title)
            for line in dict.fromkeys(lines):
                reporter.line(line)
