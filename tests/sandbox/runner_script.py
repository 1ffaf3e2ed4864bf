"""Runner for undo_script.py: starts two nodes, changes much on them, and ends."""

from __future__ import annotations

import os
import sys
import time

from lisa_container.platforms.sandbox import start_sandbox

sandbox = start_sandbox(2)
for node in sandbox.nodes:
    node.run("docker network create other && dd if=/dev/zero of=/root/file bs=1M count=8")
    node.run("useradd stranger; sleep 1000 >/dev/null 2>&1 & mkdir /sys/fs/cgroup/memory/mine")
assert sandbox._keeper
name = next(part for part in sandbox.nodes[0]._cgroups[0].split("/") if "lisa_container" in part)
# Not by print: importing LISA has made standard output its own.
os.write(1, f"{name.split('.')[1]} {sandbox.nodes[0].pid} {sandbox._keeper.pid}\n".encode())
if sys.argv[1] == "stop":
    sandbox.stop()
elif sys.argv[1] == "exit":
    sys.exit(0)
elif sys.argv[1] == "os._exit":
    os._exit(0)
else:
    time.sleep(600)
