"""HTTP handlers on a machine: containers of an image archive, each with an address of its own.

A small function platform for tests of runtimes: the runtime and the image are real, and the
registry of handlers, the addresses and the bundles are on the machine.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice

from lisa.node import Node

from lisa_container.config.checks import illegal
from lisa_container.errors import (
    HandlerError,
    HandlerExistsError,
    HandlerNotFoundError,
    RuntimeCommandError,
)
from lisa_container.images.ship.source import Image
from lisa_container.runtimes.bundle import OciBundle
from lisa_container.runtimes.expect import Expect
from lisa_container.runtimes.http import HttpResponse, send_requests
from lisa_container.runtimes.runtime import OciRuntime
from lisa_container.runtimes.spec import BundleSettings, Network
from lisa_container.runtimes.workspace import RootFileSystem, check_name

ADDRESS, PORT, NAME = "HANDLER_ADDRESS", "HANDLER_PORT", "HANDLER_NAME"
"""Environment variables of a handler: where it listens, and its name."""

# Exit codes of a deployment: the registry has the name, or the machine has the address.
_TAKEN, _ADDRESS_IN_USE = 100, 101
# Looks at a new handler, a tenth of a second and more apart, until it listens.
_READY_TRIES = 100
# Commands at a time: sshd allows ten on one connection, and counts one until it has ended it.
_THREADS = 6
_LONGEST_LABEL = 15  # IFNAMSIZ of the kernel, without the end

_DEPLOY = """\
umask 022
undo() {{
    {remove}
}}
mkdir -p {registry} || exit
mkdir {registry}/{name} 2>/dev/null || exit {taken}
trap 'rmdir {registry}/{name}' EXIT
exists() {{ [ -n "$(ip -o address show to {address})" ]; }}
# Other hosts of handlers take addresses, too, also by other workspaces.
exists && exit {in_use}
error=$(ip address add {address}/32 dev {device} label {label} 2>&1) || {{
    exists && exit {in_use}
    echo "$error"
    exit 1
}}
trap 'code=$?; [ $code = 0 ] || undo >/dev/null 2>&1; exit $code' EXIT
# For the end of the workspace, also if the runner is killed.
echo {delete_address} >{undo_file} || exit
{{ {make}
}} || exit
{{ {create}
}} || exit
{start} || exit
tries=0
until [ -n "$(ss -Hltn src {address}:{port})" ]; do
    tries=$((tries + 1))
    case $({state}) in *'"stopped"'*) tries={tries} ;; esac
    if [ $tries -ge {tries} ]; then
        output=$(tail -c 1000 {output} | tr '\\n' ' ')
        echo "it does not listen at {address}:{port}; its output: ${{output:-none}}"
        exit 1
    fi
    sleep 0.1
done
echo {entry} >{registry}/{name}/new && mv {registry}/{name}/new {registry}/{name}/entry
"""

# The registry's entry is the last to go, so that it names all that is still there.
_REMOVE = """\
{{ {delete} || [ -z "$({list} | grep -x {container})" ]; }} &&
    {{ {remove_bundle}
    }} && {{ {delete_address} || [ -z "$(ip address show to {address})" ]; }} &&
    rm -rf {undo_file} {registry}/{name}"""


@dataclass(frozen=True)
class Handler:
    """Handler, as the registry on the machine has it.

    Attributes:
        name: name of the handler.
        container: name of its container.
        bundle: folder of its bundle.
        rootfs: root file system of its image, which handlers share.
        address: its address.
        port: its port.
    """

    name: str
    container: str
    bundle: str
    rootfs: str
    address: str
    port: int

    @property
    def url(self) -> str:
        """URL of the handler, for requests from the machine."""
        return f"http://{self.address}:{self.port}"


class HandlerHost:
    """Handlers that a runtime runs on a machine. All methods may be called by several threads.

    A handler listens at the address and port of its environment (`HANDLER_ADDRESS` and
    `HANDLER_PORT`) in the machine's network. Its address is added to an interface with a label.

    Args:
        runtime: The runtime.
        network: Network of the addresses.
        device: Interface of the addresses.
        label: Label of the addresses: the interface, and `:` with a word behind it.
        port: Port of all handlers.

    Raises:
        ConfigError: An argument is wrong.

    Attributes:
        runtime: The runtime.
        machine: The machine.
        label: Label of the addresses.
    """

    def __init__(
        self,
        runtime: OciRuntime,
        network: str = "10.62.0.0/24",
        device: str = "lo",
        label: str = "lo:faas",
        port: int = 8080,
    ) -> None:
        """Create nothing yet."""
        try:
            hosts = ipaddress.IPv4Network(network).hosts()
        except ValueError as error:
            raise illegal("network", network, "an IPv4 network, such as 10.62.0.0/24") from error
        if not label.startswith(device) or len(label) > _LONGEST_LABEL:
            legal = f"'{device}' or '{device}:' with a word, at most {_LONGEST_LABEL} characters"
            raise illegal("label", label, legal)
        self.runtime = runtime
        self.label = label
        self._workspace = runtime.workspace
        self.machine = runtime.workspace.machine
        self._device = device
        self._port = port
        self._lock = threading.Lock()
        self._free = list(map(str, islice(hosts, 1 << 16)))
        self._commands = threading.BoundedSemaphore(_THREADS)
        self._registry = f"{runtime.folder}/handlers"

    def deploy(
        self,
        name: str,
        image: Image,
        *,
        source: Node | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Handler:
        """Start a handler and wait until it listens. If that fails, nothing of it stays.

        Args:
            name: Name of the handler.
            image: Image, as for `Workspace.root_file_system`.
            source: LISA node whose engine has the image.
            environment: Further environment variables.

        Raises:
            ConfigError: An argument is wrong.
            HandlerExistsError: The registry has a handler of this name.
            HandlerError: The handler did not start or does not listen.
            ImageArchiveError: The archive is malformed, damaged or hostile.
        """
        check_name(name)
        rootfs = self._workspace.root_file_system(image, source)
        tried: list[str] = []
        try:
            while address := self._take_address():
                tried.append(address)
                handler = self._deploy_at(address, name, rootfs, environment or {})
                if handler:
                    tried.remove(address)
                    return handler
        finally:
            with self._lock:
                self._free += tried
        raise HandlerError(
            f"handler '{name}' cannot be deployed on '{self.machine.name}': all addresses of the "
            "network are in use. Give a larger network"
        )

    def _take_address(self) -> str:
        """Take an address that this object does not use; return "" if there is none."""
        with self._lock:
            return self._free.pop(0) if self._free else ""

    def _deploy_at(
        self, address: str, name: str, rootfs: RootFileSystem, environment: Mapping[str, str]
    ) -> Handler | None:
        """Start a handler at an address; return None if the machine has this address already."""
        variables = {ADDRESS: address, PORT: str(self._port), NAME: name, **environment}
        settings = BundleSettings(None, variables, (), Network.HOST, False)
        bundle = self._workspace.plan_bundle(rootfs, settings, name)
        handler = Handler(name, bundle.name, bundle.path, rootfs.path, address, self._port)
        script = self._deploy_script(handler, bundle)
        try:
            with self._commands:
                self._workspace.run(f"deploy handler '{name}'", script, bundle.config)
        except RuntimeCommandError as error:
            if error.exit_code == _ADDRESS_IN_USE:
                return None
            if error.exit_code == _TAKEN:
                raise HandlerExistsError(name, self.machine.name) from error
            raise HandlerError(str(error)) from error
        return handler

    def deploy_all(self, names: Iterable[str], image: Image) -> list[Handler]:
        """Start handlers at the same time; see `deploy`.

        Args:
            names: Names of the handlers.
            image: Image of all of them.

        Returns:
            The handlers, in the order of their names.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(lambda name: self.deploy(name, image), list(names)))

    def registry(self) -> dict[str, Handler]:
        """Return the handlers in the registry on the machine, by name.

        Handlers that are being deployed are not in it.
        """
        script = f"cat {shlex.quote(self._registry)}/*/entry 2>/dev/null || true"
        with self._commands:
            text = self._workspace.run("read the registry of handlers", script).stdout
        entries = [Handler(**json.loads(line)) for line in text.splitlines()]
        return {each.name: each for each in entries}

    def count_bundles(self) -> int:
        """Return the number of bundles on the machine."""
        with self._commands:
            return self._workspace.count_bundles()

    def invoke(
        self,
        name: str,
        path: str = "/",
        count: int = 1,
        concurrency: int = 1,
        method: str = "GET",
        body: bytes | str = b"",
    ) -> list[HttpResponse]:
        """Send requests to a handler from its machine, and return the answers.

        Args:
            name: Name of the handler.
            path: Path of the URL.
            count: Number of requests.
            concurrency: Number of requests that are under way at a time.
            method: Method of the requests.
            body: Body of each request.

        Raises:
            HandlerNotFoundError: The registry has no handler of this name.
        """
        url = f"{self._find(name).url}{path}"
        with self._commands:
            return send_requests(self.machine, url, count, concurrency, method=method, body=body)

    def remove(self, name: str) -> None:
        """End a handler and remove its container, bundle, address and entry in the registry.

        Args:
            name: Name of the handler.

        Raises:
            HandlerNotFoundError: The registry has no handler of this name.
            HandlerError: Something cannot be removed; the handler stays in the registry.
        """
        handler = self._find(name)
        bundle = OciBundle(self.machine, handler.container, handler.bundle, handler.rootfs, "")
        try:
            with self._commands:
                script = self._remove_script(handler, bundle)
                self._workspace.run(f"remove handler '{name}'", script)
        except RuntimeCommandError as error:
            raise HandlerError(str(error)) from error
        with self._lock:
            self._free.append(handler.address)

    def wait_for_cleanup(self, handler: Handler, seconds: float = 10.0) -> None:
        """Wait until nothing of a handler is left: container, bundle, address, socket, entry.

        Args:
            handler: Handler that was removed, or is being removed elsewhere.
            seconds: Time limit in seconds, for each of these.

        Raises:
            NodeStateError: Something is left; an AssertionError that names it.
        """
        expect = Expect(self.machine, seconds)

        def look() -> tuple[bool, str]:
            registered = handler.name in self.registry()
            containers = [x.status for x in self.runtime.list() if x.id == handler.container]
            words = ["an entry"] * registered + [f"a {status} container" for status in containers]
            return not words, " and ".join(words) or "nothing"

        expect.that(f"no entry and no container of handler '{handler.name}'", look)
        expect.empty(handler.bundle)
        expect.no_address(handler.address)
        expect.not_listening(handler.port, handler.address)

    def list(self) -> list[Handler]:
        """Return the handlers whose containers run, by the runtime's own list.

        Raises:
            RuntimeCommandError: The runtime failed.
        """
        with self._commands:
            running = {each.id for each in self.runtime.list() if each.status == "running"}
        return [each for each in self.registry().values() if each.container in running]

    def _find(self, name: str) -> Handler:
        registry = self.registry()
        if name not in registry:
            raise HandlerNotFoundError(name, self.machine.name, sorted(registry))
        return registry[name]

    def _deploy_script(self, handler: Handler, bundle: OciBundle) -> str:
        return _DEPLOY.format(
            **self._words(handler),
            taken=_TAKEN,
            in_use=_ADDRESS_IN_USE,
            remove=self._remove_script(handler, bundle),
            make=bundle.make_script(),
            create=self.runtime.create_script(bundle),
            start=self.runtime.command("start", bundle.name),
            state=self.runtime.command("state", bundle.name),
            output=shlex.quote(bundle.output),
            port=handler.port,
            tries=_READY_TRIES,
            entry=shlex.quote(json.dumps(asdict(handler))),
        )

    def _remove_script(self, handler: Handler, bundle: OciBundle) -> str:
        return _REMOVE.format(
            **self._words(handler),
            container=bundle.name,
            delete=self.runtime.command("delete", "--force", bundle.name),
            list=self.runtime.command("list", "-q"),
            remove_bundle=bundle.remove_script(),
        )

    def _words(self, handler: Handler) -> dict[str, str]:
        """Return the words of both scripts."""
        address = shlex.join(["ip", "address", "del", f"{handler.address}/32", "dev", self._device])
        return {
            "registry": shlex.quote(self._registry),
            "name": handler.name,
            "undo_file": shlex.quote(f"{self._workspace.folder}/undo/{handler.container}"),
            "address": handler.address,
            "device": shlex.quote(self._device),
            "label": shlex.quote(self.label),
            "delete_address": address,
        }
