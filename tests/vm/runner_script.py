"""Runner for test_vm_end.py: starts a VM, prints its pid and folder, and ends as it is told."""

from __future__ import annotations

import os
import sys
import time

from lisa_container.microvm import MicroVm

vm = MicroVm().start()
guest = vm._guest
assert guest
child = os.fork() if sys.argv[1] == "fork" else None
if child == 0:
    time.sleep(600)
words = (vm.pid, guest.process._keeper.pid, child or 0, guest.process.folder)
# Not by print: importing LISA has made standard output its own.
os.write(1, f"{' '.join(map(str, words))}\n".encode())
if sys.argv[1] == "exit":
    sys.exit(0)
time.sleep(600)
