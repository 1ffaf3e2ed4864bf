"""Server that runs Python programs in processes forked from itself, for tests/support/programs.py."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any


def import_modules() -> Any:
    """Import what LISA and our command import, once for all programs.

    Returns:
        The handler of Ctrl-C that suites install when they are imported.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import jsonpath  # noqa: F401
    import lisa.main  # noqa: F401
    from lisa.util.logger import uninit_logger

    import lisa_container

    uninit_logger()  # the import of LISA sends stdout to its log

    for module in pkgutil.walk_packages(lisa_container.__path__, "lisa_container."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # the forked processes share these objects
    return signal.signal(signal.SIGINT, signal.SIG_IGN)


def serve(listening: socket.socket) -> dict[str, Any]:
    """Fork a process for each connection, and send its exit code when it has ended.

    Only forked processes return from this function. The server exits at the end of its stdin.

    Returns:
        The order that came over the connection.
    """
    running: dict[int, tuple[int, socket.socket]] = {}  # by the process's file descriptor
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                sys.exit()
            if key.fd in running:
                pid, connection = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status = os.waitpid(pid, 0)
                with contextlib.suppress(BrokenPipeError):  # a test has failed before the end
                    connection.send(b"%d" % os.waitstatus_to_exitcode(status))
                connection.close()
                continue
            connection, _ = listening.accept()
            order, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
            pid = os.fork()
            if pid == 0:
                for number, file in enumerate(files):
                    os.dup2(file, number)
                selector.close()
                listening.close()
                connection.close()
                for process, (_, other) in running.items():
                    os.close(process)
                    other.close()
                for file in files:
                    os.close(file)
                return dict(json.loads(order))
            for file in files:
                os.close(file)
            connection.send(b"%d" % pid)
            process = os.pidfd_open(pid)
            running[process] = (pid, connection)
            selector.register(process, selectors.EVENT_READ)


def run(order: dict[str, Any], on_interrupt: Any) -> None:
    """Run a program in this process, as Python does for `-m MODULE`, `-c CODE` or a script's path.

    Args:
        order: words, folder and environment of the program.
        on_interrupt: handler of Ctrl-C for LISA, which imports suites.
    """
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "COV_CORE_DATAFILE" in os.environ:
        from pytest_cov import embed

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that modules were imported before
            embed.init()
    kind, *words = order["words"]
    if kind == "-m":
        sys.argv, sys.path[0] = words, ""
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *words[1:]], ""
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = order["words"], str(Path(kind).parent)
        if Path(kind).name == "lisa":
            from lisa.util.logger import init_logger

            init_logger()
            signal.signal(signal.SIGINT, on_interrupt)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind("\0" + sys.argv[1])
    handler = import_modules()
    server.listen(64)
    os.write(1, b"!")
    run(serve(server), handler)
