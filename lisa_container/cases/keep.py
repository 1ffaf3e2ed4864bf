"""Containers of failed cases that stay on their nodes."""

from __future__ import annotations

from lisa_container.config import KeepContainers
from lisa_container.container.enter import report_kept
from lisa_container.container.follower import Followed
from lisa_container.container.keeping import keep_containers_of
from lisa_container.engine.lease.lease import Lease


def keep_if_asked(executor: Followed) -> bool:
    """Keep the container of a failed case if a setting asks for it.

    Args:
        executor: The container; see `keep_containers_of`.

    Returns:
        Whether the container is kept from now on, and was not before.
    """
    if executor.keep or keep_containers_of(executor.config, executor.host) is KeepContainers.NO:
        return False
    executor.keep = True
    Lease.of(executor.engine).keep(executor.id)  # also if this process is killed from now on
    report_kept(executor, "keeping, since a case failed in it,")
    return True
