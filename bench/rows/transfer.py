"""Copying a file in and out.

`copy_to` and `copy_from` of 256 MiB of random bytes, into a container and back, as a user with
sudo. The runner and the node (sshd, the relay, the engine) are pinned to one core each, so that
neither helps out the other; on a machine with one core nothing is pinned. The copies' SHA-256 is
compared each time. Beside it:

- paramiko alone: the same bytes between a file here and a file on the node, with `cat` there, or by
  SFTP, whichever is faster; the cipher is the one of LISA's connection. The target is a ratio of
  1.1.
- what a LISA user does without this package: `node.shell.copy` and then `docker cp`, and back. The
  target is a ratio of 0.8.
- `scp` to the node's own disk, over a connection that is open already: once with the very cipher of
  LISA's connection, once with those that scp chooses by itself. The target is a ratio of 1.25.
- the engine alone, its archive of the same size taken and given by the SDK on the engine's own
  socket, with no SSH between.

The memory is what the process takes more at its peak than before, for one copy in a process of
its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Callable

import docker
import paramiko
from lisa.node import Node
from lisa.util.shell import SshShell

from bench import memory
from bench.result import Line, Target
from bench.stage import BUSYBOX, Login, Stage, in_process
from bench.timing import Stopwatch, Way, interleave
from lisa_container import ContainerExecutor, ContainerTestConfig

CONFIG = ContainerTestConfig(image=BUSYBOX)
PHASES = ("in", "out")
_REMOTE = "/var/tmp/bench-copy"
_TIMEOUT = 600

PLAIN = "paramiko alone, "
LISA = "LISA: shell.copy and docker cp"
ENGINE = "SDK on the node's own socket, no file here"
_CHUNK = 2**18


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    size = stage.pick(256, 4)
    source, back = stage.folder / "source", stage.folder / "back"
    expected = _make(source, size)
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(stage.user.node())
        container = stack.enter_context(ContainerExecutor(node, CONFIG))

        def ours(watch: Stopwatch) -> None:
            with watch("in"):
                container.copy_to(source, _REMOTE)
            assert container.run(["sha256sum", _REMOTE]).stdout.split()[0] == expected
            with watch("out"):
                container.copy_from(_REMOTE, back)
            assert _sum(back) == expected
            container.run(["rm", _REMOTE], expected_exit_code=0)
            back.unlink()

        def scp(*options: str) -> Way:
            words, target = stack.enter_context(_scp(stage, options))

            def way(watch: Stopwatch) -> None:
                with watch("in"):
                    _succeed(*words, str(source), f"{target}:{_REMOTE}")
                assert stage.machine.run(["sha256sum", _REMOTE]).stdout.split()[0] == expected
                with watch("out"):
                    _succeed(*words, f"{target}:{_REMOTE}", str(back))
                assert _sum(back) == expected
                stage.machine.run(["rm", _REMOTE])
                back.unlink()

            return way

        ours(Stopwatch())  # the connection may change to another cipher for it
        transport = _transport(node)
        cipher, mac = transport.local_cipher, transport.local_mac
        same = f"scp, {cipher}" + ("" if "gcm" in cipher else f" and {mac}")
        own = "scp, its own choice of cipher"
        plain = f"{PLAIN}cat", f"{PLAIN}SFTP"
        ways: dict[str, Way] = {
            "ours": ours,
            same: scp("-o", f"Ciphers={cipher}", "-o", f"MACs={mac}"),
            own: scp(),
            plain[0]: _plain(stage.user, cipher, source, back, _by_channel),
            plain[1]: _plain(stage.user, cipher, source, back, _by_sftp),
            LISA: _lisa(node, container, source, back),
            ENGINE: _engine(stack.enter_context(contextlib.closing(stage.api())), container, size),
        }
        rounds = stage.pick(5, 1)
        with _pinned(stage):
            found = interleave(ways, rounds)
    took = in_process(_peaks, stage.user, source)
    lines = []
    for phase in PHASES:
        best = min(plain, key=lambda name: found[name].median(phase))
        targets = {
            best: Target(1.1),
            LISA: Target(0.8),
            same: Target(1.25),
            own: None,
            ENGINE: None,
        }
        lines += [
            Line(
                f"{size} MiB {phase}",
                found["ours"].median(phase),
                other,
                found[other].median(phase),
                target=target,
                samples=rounds,
            )
            for other, target in targets.items()
        ]
    return lines + [Line(f"peak memory, {x}", took[x], unit="MiB") for x in PHASES]


@contextlib.contextmanager
def _pinned(stage: Stage) -> Iterator[None]:
    """Pin this process to one core and all processes of the node to another one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield
        return
    _pin_node(stage, str(cores[1]))
    _pin_runner({cores[0]})
    try:
        yield
    finally:
        _pin_runner(set(cores))
        _pin_node(stage, ",".join(map(str, cores)))


def _pin_node(stage: Stage, cores: str) -> None:
    # A process may end meanwhile.
    script = 'for one in /proc/[0-9]*; do taskset -a -c -p "$0" "${one#/proc/}"; done; true'
    stage.machine.run(["sh", "-c", script, cores])


def _pin_runner(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


_Plain = Callable[[paramiko.Transport, Stopwatch, Path, Path], None]


def _plain(login: Login, cipher: str, source: Path, back: Path, copy: _Plain) -> Way:
    """Measure paramiko alone, between a file here and one on the node.

    Each copy has a connection of its own: paramiko renews the keys after 512 MiB, and if the other
    end closes a channel meanwhile, paramiko waits for itself and gives the connection up.
    """
    others = [name for name in paramiko.Transport._preferred_ciphers if name != cipher]

    def way(watch: Stopwatch) -> None:
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            client.connect(
                login.address,
                login.port,
                login.username,
                key_filename=str(login.key),
                disabled_algorithms={"ciphers": others},
            )
            transport = client.get_transport()
            assert transport is not None and transport.local_cipher == cipher
            copy(transport, watch, source, back)
            assert back.stat().st_size == source.stat().st_size
            back.unlink()
            with _channel(transport, f"rm {_REMOTE}") as channel:
                assert channel.recv_exit_status() == 0

    return way


def _by_channel(transport: paramiko.Transport, watch: Stopwatch, source: Path, back: Path) -> None:
    with watch("in"), _channel(transport, f"cat >{_REMOTE}") as channel, source.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            channel.sendall(chunk)
        channel.shutdown_write()
        assert channel.recv_exit_status() == 0
    with watch("out"), _channel(transport, f"cat {_REMOTE}") as channel, back.open("wb") as file:
        for chunk in iter(lambda: channel.recv(_CHUNK), b""):
            file.write(chunk)


def _by_sftp(transport: paramiko.Transport, watch: Stopwatch, source: Path, back: Path) -> None:
    with watch("in"), _sftp(transport) as sftp:
        sftp.put(str(source), _REMOTE)
    with watch("out"), _sftp(transport) as sftp:
        sftp.get(_REMOTE, str(back))


def _sftp(transport: paramiko.Transport) -> paramiko.SFTPClient:
    sftp = paramiko.SFTPClient.from_transport(transport)
    assert sftp is not None
    return sftp


def _lisa(node: Node, container: ContainerExecutor, source: Path, back: Path) -> Way:
    """Measure LISA and the engine's own command line, by way of a file on the node."""
    inside = f"{container.id}:{_REMOTE}"

    def way(watch: Stopwatch) -> None:
        with watch("in"):
            node.shell.copy(source, PurePosixPath(_REMOTE))
            _execute(node, f"docker cp {_REMOTE} {inside}")
        _execute(node, f"rm {_REMOTE}")
        with watch("out"):
            _execute(node, f"docker cp {inside} {_REMOTE}")
            node.shell.copy_back(PurePosixPath(_REMOTE), back)
        assert back.stat().st_size == source.stat().st_size
        back.unlink()
        _execute(node, f"rm {_REMOTE}")
        container.run(["rm", _REMOTE], expected_exit_code=0)

    return way


def _execute(node: Node, command: str) -> None:
    node.execute(command, sudo=True, timeout=_TIMEOUT, expected_exit_code=0)


def _engine(api: docker.APIClient, container: ContainerExecutor, size: int) -> Way:
    """Measure the engine alone, which unpacks an archive into the container and packs one."""
    member = tarfile.TarInfo(PurePosixPath(_REMOTE).name)
    member.size = size * 2**20
    zeros = bytes(_CHUNK)

    def archive() -> Iterator[bytes]:
        yield member.tobuf()
        for _ in range(member.size // _CHUNK):
            yield zeros
        yield bytes(2 * tarfile.BLOCKSIZE)

    def way(watch: Stopwatch) -> None:
        with watch("in"):
            api.put_archive(container.id, str(PurePosixPath(_REMOTE).parent), archive())
        with watch("out"):
            chunks, _ = api.get_archive(container.id, _REMOTE, chunk_size=_CHUNK)
            got = sum(len(chunk) for chunk in chunks)
        assert got > member.size, got
        container.run(["rm", _REMOTE], expected_exit_code=0)

    return way


def _channel(transport: paramiko.Transport, command: str) -> paramiko.Channel:
    channel = transport.open_session()
    channel.settimeout(_TIMEOUT)
    channel.exec_command(command)
    return channel


def _peaks(login: Login, source: Path) -> dict[str, float]:
    """Return the MiB that a copy takes, by its direction."""
    back = source.with_name("back")
    found = {}
    with login.node() as node, ContainerExecutor(node, CONFIG) as container:
        copies = {
            "in": lambda: container.copy_to(source, _REMOTE),
            "out": lambda: container.copy_from(_REMOTE, back),
        }
        container.copy_to(__file__, _REMOTE)  # what is loaded and opened once does not count
        for phase, copy in copies.items():
            before = memory.resident()
            memory.reset_peak()
            copy()
            found[phase] = memory.peak() - before
    assert back.stat().st_size == source.stat().st_size
    back.unlink()
    return found


@contextlib.contextmanager
def _scp(stage: Stage, options: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the words of an scp over an open connection like ours, and its target."""
    *ssh, target = stage.machine.ssh_command()
    control = stage.folder / f"control-{len(options)}"
    _succeed(*ssh, *options, "-fNM", "-S", str(control), target)
    try:
        yield ["scp", "-q", "-o", f"ControlPath={control}"], target
    finally:
        _succeed("ssh", "-q", "-S", str(control), "-O", "exit", target)


def _make(path: Path, size: int) -> str:
    """Write a file of random bytes, `size` MiB, and return its SHA-256."""
    with path.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(2**20))
    return _sum(path)


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(2**20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _succeed(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT)


def _transport(node: Node) -> paramiko.Transport:
    shell = node.shell
    assert isinstance(shell, SshShell) and shell._inner_shell is not None
    transport: paramiko.Transport = shell._inner_shell._spur._get_ssh_transport()
    return transport
