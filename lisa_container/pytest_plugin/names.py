"""Names of the plugin's own fixtures. A test uses the plugin if it uses one of them."""

from __future__ import annotations

import pytest

RUN = "_lisa_container_run"
"""Fixture of the run, which all others need."""

NODE = "_lisa_container_node"
"""Fixture of the node that `--lisa-node` names; a user's own fixture `node` does without."""

WANTED = "_lisa_container_wanted"
"""Fixture of the container that a test's marker describes."""

VM_FACTORY = "vm_factory"
"""Fixture that starts virtual machines besides that of a marker."""

VM_FACTORIES = ("class_vm_factory", "module_vm_factory", "session_vm_factory")
"""Fixtures that start virtual machines of a wider scope."""

WANTED_VM = "_lisa_container_wanted_vm"
"""Fixture of the virtual machine that a test's marker describes."""


def uses(item: pytest.Item, fixture: str) -> bool:
    """Return whether a test uses a fixture, directly or by another one."""
    return fixture in getattr(item, "fixturenames", ())
