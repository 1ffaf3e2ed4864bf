"""Program that starts a container and does not stop it; tests/engine/test_executor.py runs it.

Arguments: the node's address, port, user and private key file; the container's name; how to end.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from lisa import schema
from lisa.node import quick_connect
from lisa.util import constants
from lisa.util.logger import init_logger

from lisa_container import ContainerExecutor, ContainerTestConfig

address, port, user, key, name, how = sys.argv[1:]

init_logger()
root = Path(tempfile.mkdtemp())
constants.RUN_ID = "exit-script"
constants.RUN_LOGIC_PATH = Path("exit")
constants.RUN_LOCAL_LOG_PATH = root
runbook = schema.RemoteNode(
    address=address,
    public_address=address,
    port=int(port),
    public_port=int(port),
    username=user,
    private_key_file=key,
)
node = quick_connect(runbook, logger_name="exit")
config = ContainerTestConfig(image="lisa_container/busybox", volumes={"exit_volume": "/data"})
container = ContainerExecutor(node, config, name).start()

if how == "closed":
    node.close()  # as LISA does at its end
elif how == "raises":
    raise RuntimeError("as told")
elif how in ("SIGINT", "SIGTERM"):
    if how == "SIGTERM":
        # Python itself would just stop; see "Leaving nothing behind" in docs/how_it_works.md.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("ready", flush=True, file=sys.__stdout__)
    container.run("sleep 60")
elif how == "collected":
    del container, node
    time.sleep(0.1)
