"""Small package server on a container's loopback, with the faults that a test wants.

Its command line has the port, the folder, and the number of requests that fail at first. The
variable LOGIN may require `user:password`. It runs on the container's Python.
"""

from __future__ import annotations

import hashlib
import io
import zipfile

from lisa_container import ContainerExecutor, RunningCommand
from lisa_container.install import Tool

# Python with venv, in a layer that is made once for all tests of a file.
PYTHON = Tool("python3-venv", command="python3")

SERVER = """
import base64, http.server, os, sys

port, folder, failing = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
login = os.environ["LOGIN"]

class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
        super().__init__(*args, directory=folder)

    def do_GET(self):
        global failing
        wanted = "Basic " + base64.b64encode(login.encode()).decode()
        if failing > 0:
            failing -= 1
            self.send_error(503)
        elif login and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=shop")
            self.end_headers()
        else:
            super().do_GET()

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def open_shop(
    container: ContainerExecutor, port: int, folder: str, failing: int = 0, login: str = ""
) -> RunningCommand:
    """Start a server and wait until it answers."""
    words = ["python3", "-c", SERVER, str(port), folder, str(failing)]
    running = container.run_async(words, update_envs={"LOGIN": login})
    look = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    container.run(
        f'for i in $(seq 100); do python3 -c "{look}" 2>/dev/null && exit; sleep 0.1; done; exit 1',
        expected_exit_code=0,
    )
    return running


def put(container: ContainerExecutor, path: str, content: bytes) -> None:
    """Write a file into a container, its folders too."""
    folder = path.rpartition("/")[0]
    container.run(["mkdir", "-p", folder], expected_exit_code=0)
    container.run(["sh", "-c", 'cat >"$1"', "sh", path], stdin=content, expected_exit_code=0)


def put_wheel(container: ContainerExecutor, folder: str, name: str, version: str, says: str) -> str:
    """Put a wheel with one command into a Python index; return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr(f"{name}.py", f"def main():\n    print({says!r})\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    data = buffer.getvalue()
    file = f"{name}-{version}-py3-none-any.whl"
    put(container, f"{folder}/simple/{name}/{file}", data)
    page = f'<a href="{file}">{file}</a>'.encode()
    put(container, f"{folder}/simple/{name}/index.html", page)
    return hashlib.sha256(data).hexdigest()
