"""Commands and copies on Docker and podman behave like with the engine's own command."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lisa_container import (
    ContainerExecutor,
    ContainerTestConfig,
    CopyNotFoundError,
    EngineError,
    ImageNotFoundError,
)
from lisa_container.archives.pack import pack_bytes
from lisa_container.config import ImageReference, PullPolicy
from lisa_container.container.session.command import SessionCommand
from lisa_container.images.layers import LayerEntry, image_from_layers
from lisa_container.images.local.adopt import adopt
from tests.support.nodes import BUSYBOX
from tests.support.sides import TOOLS, Side, start_side
from tests.support.soak import amount, dice

# For a shell. The engine's own command is asked for each of them in one go.
TEXTS = [
    *(
        "break; echo after",
        "continue; echo after",
        "return 3; echo after",
        "echo x \\",
        "echo $LINENO",
    ),
    *("nosuchcmd", "echo a; nosuchcmd; echo b", "/bin/nosuch", "/etc", "cd /nosuch", "exit abc"),
    *("kill 999999", "test 1 -eq x", "echo x >/no/such", "echo 'x", "if", "set -u; echo $NOTHING"),
    *("echo ${NOTHING?missing}", "echo $0 $#", "trap", "umask; pwd; echo $PWD-$OLDPWD", "", "#"),
    *(
        "\n\necho $LINENO\nnosuch",
        "exit 7",
        "exit 300",
        "(exit 9)",
        "kill -9 $$",
        "kill -15 $$",
        ":",
    ),
    *(
        "set -x; echo traced",
        "set -e; false; echo no",
        "set -n; echo no",
        "exec echo replaced",
        "exec 1>&2; echo e",
    ),
    *(
        "printf 'no end'",
        "printf '\\377\\0\\001'",
        'echo "it\'s"',
        "echo '\"'",
        "echo a\\ b",
        "echo *",
        "echo '*'",
    ),
    *(
        "cat <<END\n$((2*3))\nEND",
        "cat <<'END'\n$x `y` \\\nEND",
        "f() { return 5; }; f",
        "while :; do break; done; echo w",
    ),
    *(
        "case x in x) echo y;; esac",
        "for x in 1 2; do echo $x; done",
        "echo a | cat",
        "false | true",
        "! true",
        "eval 'echo e'",
    ),
    *(
        "trap 'echo bye' EXIT; echo hi",
        "trap 'echo t' TERM; kill $$; echo on",
        "alias a=b",
        "unset PATH; ls",
        "IFS=,; x=a,b; echo $x",
    ),
    *(
        'read x; echo "[$x]"',
        "cat",
        "echo ü€𝄞",
        "echo a >&2; echo b",
        "sleep 0 & wait; echo done",
        "[ -t 0 ] || echo none",
    ),
    *(
        "set -- 1 '2 3'; echo $# $2",
        "echo ${x:-y}",
        "echo $((07+1))",
        "echo `echo a`",
        "\techo tab",
        "echo a;;",
        "}",
        ")",
    ),
]


@pytest.fixture(scope="module")
def sides() -> Iterator[Callable[[str], Side]]:
    """Return a function that starts the node of an engine at its first call."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda tool: stack.enter_context(start_side(tool)))


@pytest.fixture(scope="module", params=TOOLS)
def side(request: pytest.FixtureRequest, sides: Callable[[str], Side]) -> Side:
    """Return the node of each engine in turn."""
    return sides(request.param)


@pytest.fixture(scope="module")
def box(side: Side) -> Iterator[ContainerExecutor]:
    with ContainerExecutor(side.node, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container


@pytest.mark.soak
def test_texts_as_exec(side: Side, box: ContainerExecutor) -> None:
    assert len(TEXTS) > 70
    different = {}
    for text in dice(f"texts {side.tool}").sample(TEXTS, amount(len(TEXTS), 25)):
        found = box.run(text)
        ours = (found.stdout_bytes, found.stderr_bytes, found.exit_code)
        plain = side.plain("exec", "-i", box.name, "sh", "-c", text)
        if ours != plain:
            different[text] = (ours, plain)
    assert not different


# For no shell, among them files that the kernel does not execute. The container's PATH has /opt.
FILES = {
    "script": b"#!/bin/sh\necho script $#\n",
    "no-head": b"echo no-head\n",
    "empty": b"",
    "binary": bytes(range(256)),
    "other": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\x00" + bytes(100),
}
LISTS: list[list[str]] = [
    *([form.format(name), "a b"] for name in FILES for form in ("/opt/{}", "{}", "opt/{}")),
    *(
        ["nosuch"],
        ["/etc/passwd"],
        ["/etc"],
        ["echo", "a  b", "*", "$x", ""],
        ["printf", "%s", "\\"],
    ),
    *(["env"], ["sh", "-c", "exit 7"], ["sh", "/opt/no-head"], ["pwd"], ["cat"], ["false"]),
    *(["sh", "-c", "kill -9 $$"], ["busybox", "true"], ["[", "-t", "0", "]"], ["ls", "/nosuch"]),
]


@pytest.mark.soak
def test_lists_as_exec(side: Side) -> None:
    config = ContainerTestConfig(image=BUSYBOX, environment={"PATH": "/bin:/opt"})
    entries = []
    for name, data in FILES.items():
        info = tarfile.TarInfo(name)
        info.mode = 0o755
        entries.append((info, data))
    different = {}
    with ContainerExecutor(side.node, config) as container:
        container.run("mkdir -p /opt")
        side.engine.api.put_archive(container.name, "/opt", pack_bytes(entries))
        for words in dice(f"lists {side.tool}").sample(LISTS, amount(len(LISTS), 12)) * 2:
            found = container.run(words)
            ours = (found.stdout_bytes, found.exit_code)
            stdout, _, code = side.plain("exec", "-i", container.name, *words)
            if code in (126, 127):  # Docker has one code for both, and prints the message on stdout
                stdout, code = b"", found.exit_code if found.exit_code in (126, 127) else code
            if [sorted(ours[0].split(b"\n")), ours[1]] != [sorted(stdout.split(b"\n")), code]:
                different[tuple(words)] = (ours, (stdout, code))
    assert not different


def odd_entries() -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return files of every kind and name, and hard links to each kind."""
    found = []

    def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> None:
        info = tarfile.TarInfo(f"odd/{name}")
        info.type, info.linkname, info.mtime = kind, link, 1_000_000_000
        info.mode = fields.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
        for key, value in fields.items():
            setattr(info, key, value)
        found.append((info, b"x" if kind == tarfile.REGTYPE else b""))

    add("", tarfile.DIRTYPE)
    names = [
        "a",
        "a b",
        "ünï€",
        "new\nline",
        "-dash",
        "--",
        "'\"\\$`*?",
        "x" * 200,
        "...",
        "..a",
        "a..",
        " ",
    ]
    names += [
        "\t",
        ".hidden",
        "~",
        "#",
        "[x]",
        "{y}",
        "%s",
        "C:\\x",
        "e\u0301",
        "\u202e",
        "\x01",
        "\x1b[31m",
    ]
    names += [
        os.fsdecode(name) for name in (b"caf\xe9", b"\xff\xfe", b"\x80", b"a\xe9\nb", b"\xc3(")
    ]
    for name in names:
        add(name)
    for mode in (0o000, 0o400, 0o600, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755):
        add(f"mode-{mode:o}", mode=mode)
    add("dir", tarfile.DIRTYPE, mode=0o700)
    add("dir/deep", tarfile.DIRTYPE, mode=0o500)
    add("dir/deep/file")
    add("empty", tarfile.DIRTYPE, mode=0o711)
    add("link", tarfile.SYMTYPE, "a")
    add("dangling", tarfile.SYMTYPE, "none")
    add("absolute", tarfile.SYMTYPE, "/etc/passwd")
    add("upwards", tarfile.SYMTYPE, "dir/../a")
    add("itself", tarfile.SYMTYPE, "itself")
    add("to a folder", tarfile.SYMTYPE, "dir")
    add(f"bytes-{os.fsdecode(bytes([0xE9]))}", tarfile.SYMTYPE, os.fsdecode(b"caf\xe9"))
    add("pipe", tarfile.FIFOTYPE)
    for name in ("a", "link", "dangling", "pipe", os.fsdecode(b"caf\xe9")):
        add(f"hard-{names.index(name) if name in names else name}", tarfile.LNKTYPE, f"odd/{name}")
    return found


def described(root: Path) -> dict[str, Any]:
    """Describe what a copy keeps: kinds, modes without setuid and setgid, contents, names of a file."""
    result: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
            item: list[Any] = [kind, status.st_nlink]
            if kind == stat.S_IFLNK:
                item += [os.readlink(path)]  # noqa: PTH115
            else:
                item += [oct(mode & 0o777), int(status.st_mtime)]
            if kind == stat.S_IFREG:
                item += [path.read_bytes()]
            if kind == stat.S_IFDIR:
                item[1] = 0
            result[str(path.relative_to(root))] = item
    return result


def without_counts(found: dict[str, Any]) -> dict[str, Any]:
    """Return descriptions in which symbolic links lack their number of names."""
    return {
        name: [item[0], *item[2:]] if item[0] == stat.S_IFLNK else item
        for name, item in found.items()
    }


def test_copies_as_cp(side: Side, box: ContainerExecutor, tmp_path: Path) -> None:
    """A folder with files of all kinds, and each file alone, are copied like by the engine."""
    entries = odd_entries()
    assert len(entries) > 55
    archive = tmp_path / "odd.tar"
    with tarfile.open(archive, "w", errors="surrogateescape") as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    stdout, stderr, code = side.plain(
        "exec", "-i", box.name, "tar", "-xf", "-", "-C", "/root", stdin=archive.read_bytes()
    )
    assert code == 0, stderr
    stdout, stderr, code = side.plain("cp", f"{box.name}:/root/odd", "-")
    assert code == 0, stderr
    (tmp_path / "plain").mkdir()
    subprocess.run(["tar", "-xpf", "-", "-C", tmp_path / "plain"], input=stdout, check=True)
    box.copy_from("/root/odd", tmp_path / "ours")
    ours, plain = described(tmp_path / "ours"), described(tmp_path / "plain" / "odd")
    assert {
        k: (ours.get(k), plain.get(k)) for k in {*ours, *plain} if ours.get(k) != plain.get(k)
    } == {}
    box.copy_to(tmp_path / "ours", "/root/back")
    box.copy_from("/root/back", tmp_path / "again")
    # On the way back, hard links between symbolic links become links of their own.
    assert without_counts(described(tmp_path / "again")) == without_counts(ours)
    # Of a link that is named itself, copy_from takes the target, unlike cp.
    alone = [x for x in sorted(ours) if "/" not in x and stat.S_ISREG(ours[x][0])]
    for name in (*alone, "pipe", "dangling"):
        try:
            box.copy_from(f"/root/odd/{name}", tmp_path / "single" / "x")
        except (CopyNotFoundError, EngineError):  # podman takes a name for a pattern, follows links
            assert side.plain("cp", f"{box.name}:/root/odd/{name}", "-")[2] != 0, name
            continue
        (found,) = described(tmp_path / "single").values()
        assert [found[0], *found[2:]] == [ours[name][0], *ours[name][2:]], name
        (tmp_path / "single" / "x").unlink()


# --- images -------------------------------------------------------------------------------------


def import_image(side: Side, name: str, files: dict[str, bytes]) -> str:
    """Make an image of the node's busybox and of further files; return its id."""
    busybox = Path(f"/proc/{side.machine.pid}/root/bin/busybox").read_bytes()
    entries = []
    for path, data in {"bin/busybox": busybox, **files}.items():
        info = tarfile.TarInfo(path)
        info.mode = 0o755
        entries.append((info, data))
    for applet in ("sh", "cat", "ps"):
        if f"bin/{applet}" not in files and "bin/no-shell" not in files:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            entries.append((link, b""))
    answer = side.engine.api.import_image_from_data(pack_bytes(entries))
    image = str(json.loads(answer)["status"])
    adopt(side.engine, image, ImageReference.parse(f"{name}:1"))
    return str(side.engine.api.inspect_image(image)["Id"]).removeprefix("sha256:")


BROKEN_SLEEPS = {
    "another machine": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\x00" + bytes(100),
    "no interpreter": b"#!/bin/nosuch\n",
    "empty": b"",
    "ends at once": b"#!/bin/sh\nexit 1\n",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", BROKEN_SLEEPS)
def test_sleep_that_cannot_run(side: Side, kind: str) -> None:
    name = f"lisa_container/sleep-{list(BROKEN_SLEEPS).index(kind)}"
    import_image(side, name, {"bin/sleep": BROKEN_SLEEPS[kind]})
    config = ContainerTestConfig(image=f"{name}:1", pull_policy=PullPolicy.NEVER)
    for _ in range(2):
        with ContainerExecutor(side.node, config) as container:
            assert container.run("echo alive").stdout == "alive"


def test_image_without_a_shell(side: Side) -> None:
    import_image(side, "lisa_container/shell-less", {"bin/no-shell": b""})
    config = ContainerTestConfig(image="lisa_container/shell-less:1")
    with ContainerExecutor(side.node, config) as container:
        assert container.run(["/bin/busybox", "echo", "alive"]).stdout == "alive"


@pytest.mark.parametrize("digits", [12, 20, 63])
def test_short_id(side: Side, digits: int) -> None:
    whole = import_image(side, f"lisa_container/short-{digits}", {"id": b"x"})
    config = ContainerTestConfig(image=whole[:digits], pull_policy=PullPolicy.NEVER)
    with ContainerExecutor(side.node, config) as container:
        assert container.run("cat /id").stdout == "x"


def test_id_of_no_image(side: Side) -> None:
    config = ContainerTestConfig(image="0123456789ab", pull_policy=PullPolicy.NEVER)
    with pytest.raises(ImageNotFoundError, match="0123456789ab"):
        ContainerExecutor(side.node, config).start()


@pytest.mark.parametrize("options", [{}, {"stdin": b""}])
def test_pause_is_named(side: Side, options: dict[str, Any]) -> None:
    with ContainerExecutor(side.node, ContainerTestConfig(image=BUSYBOX)) as container:
        container.run("true")
        side.plain("pause", container.name)
        try:
            with pytest.raises(EngineError, match="paused") as caught:
                container.run("true", timeout=2, **options)
            assert "hangs" not in str(caught.value)
        finally:
            side.plain("unpause", container.name)
        assert container.run("echo on").stdout == "on"


# --- shells of images ---------------------------------------------------------------------------

# Shells as the image's `sh`, and whether they stay in the container as resident shells.
SHELLS = {
    **{"dash": True, "bash": True, "busybox": True},
    **{"mksh": False, "ksh93": False, "yash": False, "posh": False, "zsh": False},
}
APPLETS = ("cat", "env", "grep", "kill", "ls", "printf", "setsid", "sleep", "sort", "tr")
# Commands that see how they were started, as a string and as a list.
STARTS: list[str | list[str]] = [
    *("env", "true; env", "env | sort", "env && env", "env >&2", "export -p", "set", "echo $_"),
    *("echo $0 $# $-", "trap; alias; jobs; umask; pwd", "echo $PWD-$OLDPWD", "nosuch; echo $?"),
    *("cd /nosuch", "if", "kill -9 $$", "kill -15 $$", "echo ü€𝄞 \\\\", "read x; echo [$x]", "cat"),
    *("sleep 0 & wait; echo done", "trap 'echo bye' EXIT; echo hi", "exec env", "(env)"),
    *(["env"], ["sh", "-c", "env"], ["sh", "-c", "env", "name"], ["env", "A=b", "env"], ["cat"]),
    *(["sh", "-c", "kill -15 $$"], ["sh", "-c", "set", "x"], ["ls", "/proc/self/fd"]),
    ["printf", "%s|", "a b", "it's", "$HOME", "\\", "é", "", '"', "*", "\n", "~", "-"],
    ["grep", "Sig[BCIP]", "/proc/self/status"],
]
SEE_MOST: list[str | list[str]] = ["true; env", "set", ["env"]]
# Variables that no two commands have alike; ksh93 puts a pid into `_`.
CHANGING = re.compile(
    rb"_=\*|'?(PPID|PGRP|BASHPID|EPOCHREALTIME|EPOCHSECONDS|RANDOM|SECONDS|[$!])'?="
)


def layer_of_shells(side: Side) -> dict[str, Any]:
    """Return a layer with all shells of the node, their libraries and some programs."""
    programs = [f"/bin/{name}" for name in SHELLS]
    found = side.machine.run(f"ldd {' '.join(programs)}", check=False).stdout
    paths = [*programs, *re.findall(r"(/\S+) \(0x", found)]
    real = side.machine.run(["readlink", "-f", *paths]).stdout.split()
    root = Path(f"/proc/{side.machine.pid}/root")
    files = {path[1:]: root / file[1:] for path, file in zip(paths, real)}
    links = {f"bin/{name}": LayerEntry.symlink("busybox") for name in APPLETS}
    return {**files, **links}


def lines(output: bytes) -> list[bytes]:
    """Return lines sorted, because variables have no order, and without those that change."""
    return sorted(line for line in output.split(b"\n") if not CHANGING.match(line))


# Images have the same shells on both engines, so podman gets a sample of them.
SHELLS_BY_TOOL = {"docker": [*SHELLS], "podman": dice("podman").sample([*SHELLS], amount(8, 2))}


@pytest.mark.sampled(2)
@pytest.mark.soak
@pytest.mark.parametrize(
    ("tool", "shell"), [(tool, shell) for tool in TOOLS for shell in SHELLS_BY_TOOL[tool]]
)
def test_image_with_another_shell(sides: Callable[[str], Side], tool: str, shell: str) -> None:
    side = sides(tool)
    image = image_from_layers([layer_of_shells(side), {"bin/sh": LayerEntry.symlink(shell)}])
    # Always those that see the most.
    sample = dice(f"{side.tool} {shell}").sample(STARTS, amount(len(STARTS), 8))
    commands = [*SEE_MOST, *(x for x in sample if x not in SEE_MOST)]
    different = {}
    with ContainerExecutor(side.node, ContainerTestConfig(image=image.reference)) as container:
        for command in commands:
            argv = ["sh", "-c", command] if isinstance(command, str) else command
            stdout, stderr, code = side.plain("exec", "-i", container.name, *argv)
            plain = (lines(stdout), lines(stderr), code)
            started = container.run_async(command)
            assert isinstance(started._process, SessionCommand) is SHELLS[shell]
            ways = {"async": started.wait()}
            if SHELLS[shell]:
                ways["run"] = container.run(command)
            if SHELLS[shell] and command in SEE_MOST:
                ways["exec"] = container.run(command, stdin=io.BytesIO(b""))
                ways["merged"] = container.run(command, stdin=io.BytesIO(b""), merge_stderr=True)
            for way, result in ways.items():
                ours = (lines(result.stdout_bytes), lines(result.stderr_bytes), result.exit_code)
                if ours != plain:
                    different[way, str(command)] = [x for x in zip(ours, plain) if x[0] != x[1]]
    assert not different
