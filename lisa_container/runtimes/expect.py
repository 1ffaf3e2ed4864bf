"""Assertions on the state of a machine, repeated until they hold or time is up."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Callable

from lisa.node import Node

from lisa_container.config.checks import illegal
from lisa_container.runtimes.http import HttpResponse, send_request
from lisa_container.runtimes.looks import Looks
from lisa_container.runtimes.machine import Machine, machine_of, run_checked
from lisa_container.runtimes.network import (
    listed,
    read_addresses,
    read_links,
    read_listeners,
    read_routes,
)

_ANY = ("*", "0.0.0.0", "::")

Look = Callable[[], "tuple[bool, str]"]
"""Function that looks once: whether the state is the expected one, and the state in words."""


class Expect:
    """Assertions on the state of a machine.

    Each method looks again until the state is the expected one. Otherwise it raises NodeStateError,
    an AssertionError, which says what was expected, what is there, and since when it was looked at.

    Args:
        target: Machine or LISA node.
        seconds: Time limit of each assertion in seconds; with 0 there is one look.

    >>> expect = Expect(vm)
    >>> expect.address("10.62.0.1", device="lo", label="lo:faas")
    >>> expect.http("http://10.62.0.1:8080/", body="hello")
    """

    def __init__(self, target: Node | Machine, seconds: float = 10.0) -> None:
        """Look at nothing yet."""
        if not seconds >= 0:
            raise illegal("seconds", seconds, "a number of seconds, at least 0")
        self.machine = machine_of(target)
        self._seconds = seconds

    def address(self, address: str, device: str = "", label: str = "") -> None:
        """Expect an address on an interface.

        Args:
            address: Address without the length of its prefix.
            device: Interface; empty means any.
            label: Label, such as `lo:faas`; empty means any.
        """

        def look() -> tuple[bool, str]:
            found = read_addresses(self.machine)
            there = [x for x in found if x.address == address]
            fitting = [x for x in there if device in ("", x.device) and label in ("", x.label)]
            return bool(fitting), listed(there or found, "address")

        where = f"{f' on {device}' if device else ''}{f' with label {label!r}' if label else ''}"
        self.that(f"address {address}{where}", look)

    def no_address(self, address: str = "", label: str = "") -> None:
        """Expect that no interface has an address, or that no address has a label.

        Args:
            address: Address without the length of its prefix; empty means any with the label.
            label: Label, such as `lo:faas`; empty means any.
        """
        if not (address or label):
            raise illegal("address, label", (), "at least one of them")

        def look() -> tuple[bool, str]:
            found = read_addresses(self.machine)
            there = [x for x in found if address in ("", x.address) and label in ("", x.label)]
            return not there, listed(there, "address")

        what = f"no address{f' {address}' if address else ''}"
        self.that(f"{what}{f' with label {label!r}' if label else ''}", look)

    def route(self, destination: str, via: str = "", device: str = "") -> None:
        """Expect a route in the main table.

        Args:
            destination: Network as `ip route` shows it, such as `10.62.0.0/24` or `default`.
            via: Gateway; empty means any or none.
            device: Interface; empty means any.
        """

        def look() -> tuple[bool, str]:
            found = read_routes(self.machine)
            there = [x for x in found if x.destination == destination]
            fitting = [x for x in there if via in ("", x.via) and device in ("", x.device)]
            return bool(fitting), listed(there or found, "route")

        where = f"{f' via {via}' if via else ''}{f' on {device}' if device else ''}"
        self.that(f"route to {destination}{where}", look)

    def no_route(self, destination: str) -> None:
        """Expect that the main table has no route to a network.

        Args:
            destination: Network as `ip route` shows it.
        """

        def look() -> tuple[bool, str]:
            there = [x for x in read_routes(self.machine) if x.destination == destination]
            return not there, listed(there, "route")

        self.that(f"no route to {destination}", look)

    def link(self, name: str, kind: str = "", is_up: bool | None = None) -> None:
        """Expect a network interface.

        Args:
            name: Name of the interface.
            kind: Kind, such as `veth`; empty means any.
            is_up: Whether it is switched on; None means either.
        """

        def look() -> tuple[bool, str]:
            found = read_links(self.machine)
            there = [x for x in found if x.name == name]
            fitting = [x for x in there if kind in ("", x.kind) and is_up in (None, x.is_up)]
            return bool(fitting), listed(there or found, "interface")

        state = "" if is_up is None else f", {'up' if is_up else 'down'}"
        self.that(f"interface {name}{f' of kind {kind}' if kind else ''}{state}", look)

    def no_link(self, name: str) -> None:
        """Expect that there is no network interface of a name.

        Args:
            name: Name of the interface.
        """

        def look() -> tuple[bool, str]:
            there = [x for x in read_links(self.machine) if x.name == name]
            return not there, listed(there, "interface")

        self.that(f"no interface {name}", look)

    def listening(self, port: int, address: str = "", protocol: str = "tcp") -> None:
        """Expect a listening socket.

        Args:
            port: Port.
            address: Address, which a socket for all addresses has too; empty means any.
            protocol: `tcp` or `udp`.
        """

        def look() -> tuple[bool, str]:
            found = [x for x in read_listeners(self.machine) if x.protocol == protocol]
            there = [x for x in found if x.port == port]
            fitting = [x for x in there if address in ("", x.address) or x.address in _ANY]
            return bool(fitting), listed(there or found, f"listening {protocol} socket")

        self.that(f"a listening socket {protocol} {address or '*'}:{port}", look)

    def not_listening(self, port: int, address: str = "", protocol: str = "tcp") -> None:
        """Expect that no socket listens at a port.

        Args:
            port: Port.
            address: Address; empty means any.
            protocol: `tcp` or `udp`.
        """

        def look() -> tuple[bool, str]:
            found = read_listeners(self.machine)
            there = [x for x in found if (x.protocol, x.port) == (protocol, port)]
            there = [x for x in there if address in ("", x.address)]
            return not there, listed(there, "listening socket")

        self.that(f"no listening socket {protocol} {address or '*'}:{port}", look)

    def http(self, url: str, status: int = 200, body: str = "") -> HttpResponse:
        """Expect an answer of an HTTP server, and return it.

        Args:
            url: URL, as the machine reaches it.
            status: Status code.
            body: Text that the answer's body contains; empty means any.
        """
        answers: list[HttpResponse] = []

        def look() -> tuple[bool, str]:
            answers[:] = [send_request(self.machine, url)]
            answer = answers[0]
            return answer.status == status and body in answer.text, str(answer)

        text = f" and a body with {body!r}" if body else ""
        self.that(f"status {status}{text} from {url}", look)
        return answers[0]

    def root_file_system(self, path: str, files: Sequence[str] = ("bin/sh",)) -> None:
        """Expect a root file system in a folder.

        Args:
            path: Folder on the machine.
            files: Files that it has, relative to it. Links are not followed.
        """
        quoted = " ".join(shlex.quote(file) for file in files)
        script = f"""\
cd {shlex.quote(path)} 2>/dev/null || {{ echo 'no such folder'; exit; }}
for file in {quoted}; do
    [ -e "$file" ] || [ -L "$file" ] || echo "no file $file; there: $(ls | tr '\\n' ' ')"
done"""

        def look() -> tuple[bool, str]:
            found = run_checked(self.machine, f"look into {path}", script).stdout
            return not found, found

        self.that(f"a root file system in {path}", look)

    def same_root_file_system(self, paths: Sequence[str], file: str = "bin/sh") -> None:
        """Expect that root file systems share their files: one copy on the disk for all.

        Args:
            paths: Folders on the machine; overlays on one folder share its files.
            file: File to compare, relative to each folder, which no container has changed.
        """
        # Inodes tell copies apart; the device differs between overlays.
        words = " ".join(shlex.quote(f"{path}/{file}") for path in paths)

        def look() -> tuple[bool, str]:
            result = self.machine.run(f"stat -c '%i %n' {words} 2>&1")
            inodes = {line.partition(" ")[0] for line in result.stdout.splitlines()}
            return result.exit_code == 0 and len(inodes) == 1, result.stdout

        self.that(f"one inode of '{file}' in all of {', '.join(paths)}", look)

    def empty(self, folder: str) -> None:
        """Expect that a folder is empty or missing, such as one for bundles or locks.

        Args:
            folder: Folder on the machine.
        """

        def look() -> tuple[bool, str]:
            script = f"[ ! -e {shlex.quote(folder)} ] || ls -A {shlex.quote(folder)}"
            names = run_checked(self.machine, f"list {folder}", script).stdout.split()
            return not names, f"{len(names)} in it: {', '.join(names[:20])}"

        self.that(f"nothing in {folder}", look)

    def that(self, expected: str, look: Look) -> None:
        """Expect a state of your own.

        Args:
            expected: The state in words, for the message.
            look: Function that looks once, and returns whether the state is the expected one, and
                the state in words.

        Raises:
            NodeStateError: The state was another until the end.
        """
        looks = Looks(self.machine.name, self._seconds)
        while True:
            is_there, found = look()
            if is_there:
                return
            looks.next(expected, found)
