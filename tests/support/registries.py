"""Real registries on a node, their images, and a faulty server in front of a registry."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import requests

from lisa_container.images import LayeredImage, LayerEntry, image_from_layers
from lisa_container.images.media import OCI_INDEX
from lisa_container.platforms.sandbox import SandboxNode

OPEN = "127.0.0.1:5000"
USER, PASSWORD = "reader", 'pass "word\'s" $HOME \\n'
OTHER_USER, OTHER_PASSWORD = "second", "another-secret-of-the-second"

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: /var/lib/docker/registry}}}}
http: {{addr: '{address}', {tls}}}
{auth}
"""
AUTH = "auth: {htpasswd: {realm: tests, path: /root/htpasswd}}"
TLS = "tls: {certificate: /root/server.pem, key: /root/server.key}"

# Server in front of the registry on port 5000 that disturbs the first `times` requests for a large
# blob. Its log has one line for each request.
MIDDLEMAN = """
import http.server, http.client, sys, time

port, what, times = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
LARGE, PIECE = 3 << 20, 1 << 16


class Middleman(http.server.BaseHTTPRequestHandler):
    left = times

    def do_GET(self):
        print(self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization"), flush=True)
        upstream = http.client.HTTPConnection("127.0.0.1", 5000)
        upstream.putrequest(self.command, self.path)
        for name, value in self.headers.items():
            if name in ("Accept", "Range"):
                upstream.putheader(name, value)
        upstream.endheaders()
        found = upstream.getresponse()
        length = int(found.headers.get("Content-Length", 0))
        is_large = self.command == "GET" and "/blobs/" in self.path and length > LARGE
        if is_large and what == "redirect":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:5000" + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        strikes = is_large and Middleman.left > 0
        Middleman.left -= strikes
        self.send_response(found.status)
        for name, value in found.headers.items():
            if name not in ("Date", "Server"):
                self.send_header(name, value)
        self.end_headers()
        sent = 0
        while self.command == "GET":
            piece = found.read(PIECE)
            if not piece:
                break
            if strikes and sent > length // 2:
                if what == "cut":
                    self.connection.shutdown(2)
                    return
                if what == "stall":
                    time.sleep(600)
            if is_large and what == "slow":
                time.sleep(PIECE / (4 << 20))
            self.wfile.write(piece)
            sent += len(piece)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


Server(("0.0.0.0", port), Middleman).serve_forever()
"""


@dataclass(frozen=True)
class Certificates:
    """CA, and a server's certificate that it has signed."""

    ca: Path
    server: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, address: str) -> Certificates:
        """Make the certificates for the server at an address."""
        new = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        (folder / "names").write_text(f"subjectAltName=IP:{address}")
        for words in (
            [*new, "-subj", "/CN=tests CA", "-keyout", "ca.key", "-out", "ca.pem"],
            [
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=tests",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
            ],
            [
                "x509",
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-days",
                "2",
                "-extfile",
                "names",
                "-CAcreateserial",
                "-out",
                "server.pem",
            ],
        ):
            subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
        return cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")


def give_accounts(machine: SandboxNode, accounts: dict[str, str]) -> None:
    """Set the accounts (name to password) of registries with AUTH."""
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, password in accounts.items()
    ]
    machine.run("cat > /root/htpasswd", stdin="".join(lines))


def serve_registry(
    machine: SandboxNode, name: str, address: str, auth: str = "", tls: str = ""
) -> None:
    """Start a registry; all registries of a node share their images. Log: /root/<name>.log."""
    config = CONFIG.format(address=address, auth=auth, tls=tls)
    machine.run(f"cat > /root/{name}.yml", stdin=config)
    machine.run(f"setsid docker-registry serve /root/{name}.yml >/root/{name}.log 2>&1 &")
    await_port(machine, address)


def serve_middleman(machine: SandboxNode, port: int, what: str, times: int = 1) -> str:
    """Start a faulty server (`redirect`, `cut`, `stall` or `slow`); return its pid."""
    machine.run("cat > /root/middleman.py", stdin=MIDDLEMAN)
    words = f"/root/middleman.py {port} {what} {times}"
    machine.run(f"setsid python3 {words} >/root/{port}.log 2>&1 &")
    await_port(machine, f"127.0.0.1:{port}")
    return machine.run(f"pgrep -f 'middleman.py {port} '").stdout.split()[0]


def await_port(machine: SandboxNode, address: str) -> None:
    """Wait until a server answers on the node."""
    host, _, port = address.partition(":")
    probe = f"python3 -c \"import socket; socket.create_connection(('{host}', {port}))\""
    deadline = time.monotonic() + 15
    while machine.run(probe, check=False).returncode:
        assert time.monotonic() < deadline, f"nothing listens on {address}"
        time.sleep(0.1)


def put_image(url: str, repository: str, tag: str, *images: LayeredImage) -> str:
    """Put an image, or an index of several images, into an open registry; return its digest."""
    described = []
    for image in images:
        with tarfile.open(fileobj=io.BytesIO(b"".join(image.stream()))) as archive:
            blobs = {
                f"sha256:{Path(member.name).name}": archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive
                if member.isfile() and member.name.startswith("blobs/")
            }
            index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
        (manifest,) = index["manifests"]
        content = blobs.pop(manifest["digest"])
        for digest, blob in blobs.items():
            begun = requests.post(f"{url}/v2/{repository}/blobs/uploads/", timeout=10)
            begun.raise_for_status()
            put = requests.put(
                begun.headers["Location"], data=blob, params={"digest": digest}, timeout=60
            )
            put.raise_for_status()
        _put_manifest(url, repository, manifest["digest"], content, manifest["mediaType"])
        described.append(manifest)
    if len(images) > 1:
        body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described}
        content, kind = json.dumps(body).encode(), OCI_INDEX
    else:
        kind = manifest["mediaType"]
    _put_manifest(url, repository, tag, content, kind)
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _put_manifest(url: str, repository: str, name: str, content: bytes, kind: str) -> None:
    put = requests.put(
        f"{url}/v2/{repository}/manifests/{name}",
        data=content,
        headers={"Content-Type": kind},
        timeout=10,
    )
    put.raise_for_status()


@dataclass(frozen=True)
class Shelf:
    """Addresses and content of the registries on a node."""

    machine: SandboxNode
    private: str
    """`host:port` of the registry with TLS and credentials."""
    url: str
    """URL of the open registry from this machine."""
    ca: Path
    digests: dict[str, str] = field(default_factory=dict)
    """Digests of `team/tool:1`, `team/tool:2`, `team/both:1` (for two platforms), and under `large`
    the digest of the large layer of `team/large:1`."""


def stock(machine: SandboxNode, folder: Path) -> Shelf:
    """Start both registries on a node, with images.

    Args:
        machine: the node.
        folder: an empty folder for certificates.
    """
    made = Certificates.make(folder, machine.address)
    for file in (made.server, made.key):
        machine.run(f"cat > /root/{file.name}", stdin=file.read_text())
    give_accounts(machine, {USER: PASSWORD, OTHER_USER: OTHER_PASSWORD})
    private = f"{machine.address}:5443"
    serve_registry(machine, "open", "0.0.0.0:5000")
    serve_registry(machine, "private", private, AUTH, TLS)
    url, digests = f"http://{machine.address}:5000", {}
    root = Path(f"/proc/{machine.pid}/root")
    shell = {f"bin/{name}": LayerEntry.symlink("busybox") for name in ("sh", "sleep", "cat")}
    base = {"bin/busybox": root / "bin/busybox", **shell}
    for tag in ("1", "2"):
        image = image_from_layers([base, {"tag": tag.encode()}], env={"PATH": "/bin"})
        digests[f"team/tool:{tag}"] = put_image(url, "team/tool", tag, image)
    large = image_from_layers([base, {"large": os.urandom(8 << 20)}], env={"PATH": "/bin"})
    put_image(url, "team/large", "1", large)
    digests["large"] = large.layers[-1].digest
    both = [
        image_from_layers([{"platform": name.encode()}], platform=name, cmd=["/none"])
        for name in ("linux/amd64", "linux/arm64")
    ]
    digests["team/both:1"] = put_image(url, "team/both", "1", *both)
    return Shelf(machine, private, url, made.ca, digests)


def tags(shelf: Shelf) -> list[str]:
    """Return the names of images on the node that came from registries."""
    output = shelf.machine.run("docker images --format '{{.Repository}}:{{.Tag}}'").stdout
    return sorted(name for name in output.split() if name.count("/") > 1)
