"""Shipping an image to a node without a registry.

`ship` sends an archive over LISA's connection, as a user with sudo. The alternative is `ssh … sudo
docker load` of the same archive as the same user, over an open connection. (That is `docker save |
ssh … docker load` without the saving.) These cases are measured:

- an image of random bytes, which cannot be compressed, to a node without any of its layers: a base
  layer of 64 MiB and a top layer of 8 MiB;
- the same base layer with another top layer, to the node that has the base layer now;
- a layer of real programs, the node's own `/usr/bin`, with and without compression.

The bytes are those that the node's network received, including the overhead of SSH. After each
turn, the layers that the engine reports are compared with the image's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from lisa.node import Node

from bench.result import Line, Target
from bench.stage import Stage
from bench.timing import Stopwatch, Way, interleave
from lisa_container.images import LayeredImage, image_from_layers, ship

FIRST, CHANGED, PROGRAMS = "first", "changed top layer", "first, programs"
PLAIN = f"{PROGRAMS}, compress=False"
_ALTERNATIVE = "docker load over ssh"
_NAME = "bench/ship:1"
_MIB = 2**20
_TIMEOUT = 600


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    base, top = stage.pick(64, 2), stage.pick(8, 1)
    lower = os.urandom(base * _MIB)
    programs = Path(f"/proc/{stage.machine.pid}/root/usr/bin")
    taken: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(stage.user.node())
        command = stack.enter_context(_docker_load(stage))

        def random_image() -> LayeredImage:
            return image_from_layers([{"base": lower}, {"top": os.urandom(top * _MIB)}])

        real = image_from_layers([{"usr/bin": programs}])

        def way(name: str) -> Way:
            taken[name] = got = defaultdict(list)

            def once(watch: Stopwatch, phase: str, image: LayeredImage) -> None:
                archive = image.save(stage.folder / "image.tar", _NAME)
                before = _received(stage)
                with watch(phase):
                    if name == "ours":
                        ship(archive, [node], keep=True, compress=phase != PLAIN)
                    else:
                        with archive.open("rb") as file:
                            subprocess.run(command, stdin=file, check=True, timeout=_TIMEOUT)
                got[phase].append((_received(stage) - before) / _MIB)
                _check(stage, image)

            def turn(watch: Stopwatch) -> None:
                _remove_all(stage)
                once(watch, FIRST, random_image())
                once(watch, CHANGED, random_image())
                _remove_all(stage)
                if not stage.quick:
                    once(watch, PROGRAMS, real)
                    _remove_all(stage)
                    once(watch, PLAIN, real)

            return turn

        _warm(node)
        rounds = stage.pick(5, 1)
        found = interleave({name: way(name) for name in ("ours", _ALTERNATIVE)}, rounds)
        _remove_all(stage)
    sizes = {FIRST: base + top, CHANGED: base + top, PROGRAMS: real.size / _MIB}
    sizes[PLAIN] = sizes[PROGRAMS]
    lines = []
    for phase in found["ours"].samples:
        what = f"{phase}, {sizes[phase]:.0f} MiB"
        ours, theirs = (median(taken[name][phase][1:]) for name in ("ours", _ALTERNATIVE))
        lines += [
            Line(
                f"{what}: time",
                found["ours"].median(phase),
                _ALTERNATIVE,
                found[_ALTERNATIVE].median(phase),
                samples=rounds,
            ),
            Line(f"{what}: bytes", ours, _ALTERNATIVE, theirs, "MiB", samples=rounds),
        ]
        if phase == CHANGED:
            what = f"{what}: bytes"
            lines.append(Line(what, ours, "the layer", top, "MiB", Target(1.1), rounds))
    return lines


def _warm(node: Node) -> None:
    """Ship a tiny image, so that one-time checks of the node are not measured."""
    ship(image_from_layers([{"x": b""}]), [node])


@contextlib.contextmanager
def _docker_load(stage: Stage) -> Iterator[list[str]]:
    """Yield the command of the alternative, which uses an open connection like ours."""
    *ssh, target = stage.machine.ssh_command()
    control = ["-S", str(stage.folder / "control")]
    subprocess.run([*ssh, "-fNM", *control, target], check=True, stdin=subprocess.DEVNULL)
    try:
        yield [*ssh, *control, target, "sudo docker load -q >/dev/null"]
    finally:
        subprocess.run(["ssh", "-q", *control, "-O", "exit", target], check=True)


def _check(stage: Stage, image: LayeredImage) -> None:
    result = stage.api().inspect_image(_NAME)
    assert result["Id"] == image.id
    assert result["RootFS"]["Layers"] == [layer.digest for layer in image.layers]


def _remove_all(stage: Stage) -> None:
    stage.machine.run("docker rmi -f $(docker images -q) >/dev/null 2>&1 || true")


def _received(stage: Stage) -> int:
    """Return the number of bytes that the node's network has received; proc(5)."""
    lines = stage.machine.run("cat /proc/net/dev").stdout.splitlines()[2:]
    return sum(int(line.split()[1]) for line in lines if not line.strip().startswith("lo:"))
