"""Runner for test_vm_frozen.py: starts a VM, and freezes it in the folder of a case."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from lisa_container.microvm import MicroVm
from lisa_container.microvm.freezing import freeze_failed

with MicroVm() as vm:
    freeze_failed([vm], "killed", Path(sys.argv[1]), 1, logging.getLogger())
