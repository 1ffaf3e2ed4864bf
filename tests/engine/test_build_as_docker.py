"""Builds of Dockerfiles and ignore files equal those of the engine's own command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container import ConfigError
from lisa_container.config import BuildSpec
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import ImageBuildError
from lisa_container.images import build_image
from lisa_container.images.build.dockerfile import Dockerfile
from tests.support.nodes import BUSYBOX
from tests.support.sides import TOOLS, Side, start_side
from tests.support.waiting import eventually

# Each takes seconds; see `sampled` in docs/testing.md.
pytestmark = pytest.mark.sampled(7, "builds")

PLAIN = "localhost/plain"
NAME, _, PART = BUSYBOX.rpartition("/")
TAGGED = f"{BUSYBOX}:latest"

# Each is the first line of a stage; the name of the stage follows. All lead to the same image.
STAGES = rf"""
FROM {BUSYBOX}
from {BUSYBOX}
FrOm{chr(9)}{BUSYBOX}
  FROM   {BUSYBOX}
FROM{chr(9)} {chr(9)}{BUSYBOX}
FROM "{BUSYBOX}"
FROM '{BUSYBOX}'
FROM {NAME}/"{PART}"
FROM {NAME}'/{PART}':latest
FROM {TAGGED}
FR\@OM {BUSYBOX}
FROM {BUSYBOX[:5]}\@{BUSYBOX[5:]}
FROM \@{BUSYBOX}
FROM \@# a comment within@{BUSYBOX}
FROM \@  # an indented one@  {BUSYBOX}
FROM \ {chr(9)}@@@ {BUSYBOX}
FROM $PLAIN
FROM ${{PLAIN}}
FROM "$PLAIN"
FROM "${{PLAIN}}:latest"
FROM ${{PLAIN}}:$TAG
FROM $QUOTED
FROM $SINGLE
FROM ${{REPO}}/${{IMAGE}}
FROM ${{REPO}}/$IMAGE:$TAG
FROM $OF_OTHERS
FROM $OF_QUOTED
FROM ${{NONE:-{BUSYBOX}}}
FROM ${{NONE:-$PLAIN}}
FROM ${{NONE:-${{NOT:-{BUSYBOX}}}}}
FROM ${{NONE:-${{NOT:-$PLAIN}}}}
FROM ${{UNSET:-{BUSYBOX}}}
FROM ${{PLAIN:-nothing}}
FROM ${{PLAIN:+{BUSYBOX}}}
FROM ${{PLAIN:+$PLAIN}}
FROM {BUSYBOX}${{NONE:+x}}
FROM {BUSYBOX}$NONE
FROM {NAME}/\b{PART[1:]}
FROM $GIVEN
FROM $GIVEN_ANEW
FROM $BLANK
FROM ${{ESCAPED}}
FROM $LAST
""".strip().split("\n")
ARGUMENTS = rf"""
ARG PLAIN={BUSYBOX}
ARG TAG=latest REPO={NAME} IMAGE={PART}
ARG QUOTED="{BUSYBOX}" SINGLE='{BUSYBOX}'
arg{chr(9)}OF_OTHERS=${{REPO}}/$IMAGE:${{TAG}}
ARG OF_QUOTED={NAME}/"{PART}"
ARG NONE= UNSET
ARG GIVEN
ARG GIVEN_ANEW=nothing
ARG BLANK="{NAME}"/"{PART}"
ARG ESCAPED={NAME}/\b{PART[1:]}
ARG LAST=\@{BUSYBOX}
""".strip()
GIVEN = {"GIVEN": BUSYBOX, "GIVEN_ANEW": BUSYBOX}

# Bytes that are no instruction's, and instructions with odd bytes in them.
ODD = b"""
# caf\xe9 in Latin-1
\x0c
# section\x0cnext page
RUN echo caf\xe9 >/latin
RUN echo 'a\xe2\x80\xa8b' >/separator
RUN echo 'a\x0bb\x0cc\x1cd\x85e' >/blanks
LABEL a="x\x0by"
ENV UMLAUT=\xc3\xbc ONE=1\\
2
RUN\techo tab >/tab
RUN echo $((1<<2)) >/shift
RUN echo one \\
# a comment within

  two >/lines
RUN echo "FROM nothing" >/from
"""


def dockerfile() -> bytes:
    """Return the Dockerfile with all stages; the last one has the odd bytes."""
    stages = [f"{line} AS s{number}" for number, line in enumerate(STAGES)]
    text = "\n".join([ARGUMENTS, *stages]).replace("@", "\n")
    return f"{text}\nFROM s0\n".encode() + ODD


# Dockerfiles of their own, for what concerns a whole file.
WHOLE = {
    "bom": b"\xef\xbb\xbf" + f"FROM {BUSYBOX}\nRUN echo 1 >/x\n".encode(),
    "crlf": f"FROM {BUSYBOX}\r\nRUN echo 1 \\\r\n >/x\r\n".encode(),
    "escape": f"# escape=`\nFROM `\n{BUSYBOX}\nRUN echo C:\\ >/x\n".encode(),
    "spaced escape": f"#  ESCAPE = `\nFROM `\n{BUSYBOX}\nRUN echo 1 >/x\n".encode(),
    "late escape": f"# a comment\n# escape=`\nFROM \\\n{BUSYBOX}\nRUN echo 1 >/x\n".encode(),
    "no last newline": f"FROM {BUSYBOX}\nRUN echo 1 >/x".encode(),
    "nothing but FROM": f"FROM {BUSYBOX}".encode(),
    "an open end": f"FROM {BUSYBOX} \\".encode(),
    "a late ARG": f"FROM {BUSYBOX}\nARG A=x\nRUN echo $A >/x\n".encode(),
    "copy": f'FROM {BUSYBOX} AS One\nRUN echo 1 >/x\nFROM scratch\nCOPY --from="one" /x /x\n'.encode(),
    "number": f"FROM {BUSYBOX}\nRUN echo 1 >/x\nFROM scratch\nCOPY --from=0 /x /x\n".encode(),
}
REFUSED = {
    "empty": b"",
    "no FROM": b"RUN x\n",
    "no name": b"FROM\n",
    "an empty name": b"ARG X\nFROM $X\n",
    "capitals": b"FROM Debian\n",
    "a quote": b"FROM 'busybox\n",
    "a bad substitution": b"FROM ${:x}\n",
    "two words": f"FROM {BUSYBOX} one\n".encode(),
    "an unknown word": f"FROM {BUSYBOX}\nRUM x\n".encode(),
    "a heredoc": f"FROM {BUSYBOX}\nRUN cat <<EOF\nx\nEOF\n".encode(),
}


@pytest.fixture(scope="module", params=TOOLS)
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    """Start a node for each engine, on which the tests leave images."""
    with start_side(request.param) as started:
        build_image(started.engine, BuildSpec(dockerfile_inline=f"FROM {BUSYBOX}\n"))
        yield started


def refusal(side: Side, folder: Path) -> str:
    """Build with the engine's own command; return its message if it fails."""
    target = Path(f"/proc/{side.machine.pid}/root/srv/context")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, symlinks=True)
    arguments = [word for key, value in GIVEN.items() for word in ("--build-arg", f"{key}={value}")]
    words = ["build", "-t", PLAIN, *arguments, "-f", "/srv/context/Dockerfile", "/srv/context"]
    _, stderr, code = side.plain(*words)
    return stderr.decode(errors="replace") or "it failed" if code else ""


def show(side: Side, image: str, script: str) -> str:
    """Return what a command prints in a container of an image."""
    words = ["run", "--rm", "--network=none", image, "sh", "-c", script]
    return side.plain(*words)[0].decode(errors="backslashreplace")


def ours(side: Side, folder: Path, **options: str) -> str:
    return build_image(side.engine, BuildSpec(str(folder), args=GIVEN, **options))


SHOWN = "cd /; for f in [a-z]*; do [ -f $f ] && echo == $f && od -c $f; done; env | sort | grep -v HOSTNAME"


def test_stages_and_odd_bytes(side: Side, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes(dockerfile())
    assert len(STAGES) > 40
    assert set(Dockerfile(dockerfile()).bases(GIVEN, "")) == {BUSYBOX, TAGGED}
    assert refusal(side, tmp_path) == ""
    name = ours(side, tmp_path)
    assert show(side, name, SHOWN) == show(side, PLAIN, SHOWN)
    assert "c   a   f" in show(side, name, SHOWN)


def test_whole_files(side: Side, tmp_path: Path) -> None:
    """A file is built or refused just like by the engine's command, with an equal result."""
    different = {}
    for title, content in {**WHOLE, **REFUSED}.items():
        (tmp_path / "Dockerfile").write_bytes(content)
        theirs = not refusal(side, tmp_path)
        try:
            name = ours(side, tmp_path)
        except (ConfigError, ImageBuildError) as error:
            if theirs:
                different[title] = repr(error)
            continue
        contents = []
        for image in (name, PLAIN):
            container = side.plain("create", image, "x")[0].decode().strip()
            contents.append(side.plain("cp", f"{container}:/x", "-")[0][512:])
            side.plain("rm", container)
        if not theirs or contents[0] != contents[1]:
            different[title] = str((theirs, contents))
    assert not different


PLATFORMS = {
    "a declared platform": "ARG TARGETARCH\nFROM localhost/of-$TARGETARCH\n",
    "an undeclared platform": "FROM localhost/of-${TARGETARCH}\n",
    "a default": "ARG TARGETARCH=default\nFROM localhost/of-$TARGETARCH\n",
}


def test_platforms(side: Side, tmp_path: Path) -> None:
    """Values of the platform's variables, which only the engine may know, are right."""
    arch = side.engine.api.version()["Arch"]
    for name in (arch, "default"):
        (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo {name} >/x\n")
        assert refusal(side, tmp_path) == ""
        side.plain("tag", PLAIN, f"localhost/of-{name}")
    taken = []
    for title, text in PLATFORMS.items():
        (tmp_path / "Dockerfile").write_text(f"{text}RUN true\n")
        if refusal(side, tmp_path):
            with pytest.raises((ConfigError, ImageBuildError)):
                ours(side, tmp_path)
        else:
            name = ours(side, tmp_path)
            assert show(side, name, "cat /x") == show(side, PLAIN, "cat /x"), title
            taken.append(title)
    assert taken


# --- LISA's own method ----------------------------------------------------------------------------

# A line that looks like a stage, and is none.
LIKE_A_STAGE = f"""\
# escape=`
ARG BASE={BUSYBOX}
FROM `
$BASE AS one
RUN echo one `
from two `
three >/x
FROM $BASE
COPY --from=one /x /x
COPY . /ctx
"""


def use_buildkit(side: Side) -> None:
    """Have the docker command build with BuildKit from now on."""
    path = Path(f"/proc/{side.machine.pid}/root/etc/docker/daemon.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": {"buildkit": True}}))
    side.machine.run("kill -HUP $(pidof dockerd)")
    api = side.engine.api
    assert eventually(lambda: api._get(api._url("/_ping")).headers.get("Builder-Version") == "2")


# All but the folders that list the images of a run, which end with its lease.
LEFT = "ls -A /var/tmp | grep -v ^lisa_container_made || true"


def test_docker_advanced(side: Side) -> None:
    """`DockerAdvanced.build_image` builds a node's file, with its ignore file, like the engine."""
    docker = side.node.tools[DockerAdvanced]
    path = side.node.working_path
    folder = Path(f"/proc/{side.machine.pid}/root{path}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own").write_text(LIKE_A_STAGE)
    (folder / "own.dockerignore").write_text("*.log\n")
    (folder / "a.log").write_text("")
    (folder / "b.txt").write_text("")
    before = side.machine.run(LEFT).stdout

    def compare() -> str:
        side.plain("build", "-t", PLAIN, "-f", f"{path}/own", str(path))
        docker.build_image("localhost/ours", "own")
        listing = "cat /x; cd /ctx; find . | sort"
        found = show(side, "localhost/ours", listing)
        assert found == show(side, PLAIN, listing)
        docker.remove_image("localhost/ours", force=True)
        return found

    assert "one from two three\n" in compare()
    with pytest.raises(AssertionError, match="(?s)building image 'none' on node .* failed: .*none"):
        docker.build_image("none", "none")
    if side.tool == "docker":
        use_buildkit(side)
        assert "a.log" not in compare()
    assert side.machine.run(LEFT).stdout == before


# --- ignore files -------------------------------------------------------------------------------

FILES = [
    *("a.txt", "b.log", "dir/a.txt", "dir/b.log", "dir/sub/a.txt", "dir/sub/keep.txt", "A.TXT"),
    *("other/keep.txt", "other/x/y/z.md", "README.md", "docs/README.md", "docs/x.md", "temp1"),
    *("node_modules/m/index.js", "src/node_modules/n.js", "src/main.c", "tempx/y", "é/ü.txt"),
    *("sp ace/f g.txt", "#hash", "!bang", "[br]/x", "back\\slash", "Dockerfile.dev", ".git/config"),
    *(".env", "a/b/c/d.txt", "secret/keep/x", "secret/drop", "a-b", "a+b", "x.y", "xzy", "^a", "-"),
]
# Docker 20.10 reads `+`, `|`, `^`, `(` and `{` as a regular expression does, and podman keeps blanks:
# those are in tests/unit/test_build.py. Each is for a folder of its own: `/` stands for the folder, and comes first in a pattern.
PATTERNS = [
    *("/*.txt", "/*", "/**", "/**/*.txt", "/**/keep.txt", "/**/sub", "/dir", "/dir/", "/dir/*"),
    *("/dir/**", "/dir/**/a.txt", "/*/a.txt", "/*/*.txt", "/temp?", "/temp*", "/?.txt", "/??.log"),
    *("/[ab].txt", "/[a-b].*", "/[^a].*", "/[!a].*", "/[^a-y].txt", "/[]", "/[\\^b]a", "/x[.]y"),
    *("/x.y", "/a[+\\-]b", "/[*]", "/\\!bang", "/\\#hash", "/#hash", "/!bang", "/\\[br\\]"),
    *("/back\\\\slash", "/back\\slash", "/[br]", "/\\[br]/x", "/*.TXT", "/*.Txt", "/README.md"),
    *("/**/README.md", "/docs/*.md", "/d*/*.md", "/**/*.md", "/é", "/?/ü.txt", "/é/*", "/sp ace"),
    *("/sp*/f g.txt", "/.*", "/.git", "/**/.git", "/.env*", "/./dir/../a.txt", "/dir//sub", "/a/b"),
    *(
        "/a/**/d.txt",
        "/a/*/c",
        "/**/c/d.txt",
        "/**/b/**",
        "/**/x/**/z.md",
        "/nothing",
        "/dir/sub/..",
    ),
    *(
        "/*\n!/a.txt",
        "/*\n!/dir",
        "/dir\n!/dir/sub",
        "/secret\n!/secret/keep",
        "/**\n!/**/keep.txt",
    ),
    *(
        "/*\n!/*.md\n/README.md",
        "!/a.txt\n/*.txt",
        "/dir/*\n!/dir/sub\n/dir/sub/a.txt",
        "/-",
    ),
    *(
        "/b.log\r",
        "#/b.log",
        " #/b.log",
        "\n\n/b.log\n\n",
        "/$x",
    ),
]
MALFORMED = ["a[+-]b", "[", "[a", "a[]", "[a-]", "[-a]", "a\\", "!", "[\\"]
# Whole files, each for a context of its own.
ROOTS = [
    "../a.txt",
    "/a.txt\n./b.log",
    "*\n!a.txt\n!dir",
    "**",
    ".",
    "*.txt\n.dockerignore\nDockerfile",
    "\ufeff*.txt\n# all\n!dir/a.txt",
]


def fill(folder: Path) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("dir")
    (folder / "dangling").symlink_to("nope")
    (folder / "abs").symlink_to("/etc/passwd")


def in_folder(pattern: str, number: int) -> str:
    """Return a pattern for one of the folders."""
    if pattern == "/[]":
        return ""
    return (
        pattern.replace("/", f"/p{number}/", 1)
        if "\n" not in pattern
        else "\n".join(line.replace("/", f"/p{number}/", 1) for line in pattern.split("\n"))
    )


LISTING = "cd /ctx && find . | sort | od -c && cat .dockerignore 2>/dev/null | od -c"


def test_patterns(side: Side, tmp_path: Path) -> None:
    """Each pattern in one context ignores the same files as the engine's command."""
    assert len(PATTERNS) > 70
    lines = []
    for number, pattern in enumerate(PATTERNS):
        (tmp_path / f"p{number}").mkdir()
        fill(tmp_path / f"p{number}")
        lines.append(in_folder(pattern, number))
    os.link(tmp_path / "p0/a.txt", tmp_path / "p0/hard")
    (tmp_path / ".dockerignore").write_text("\n".join(lines) + "\n", newline="")
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCOPY . /ctx\n")
    assert refusal(side, tmp_path) == ""
    listing = "cd /ctx && find . | sort"
    theirs = set(show(side, PLAIN, listing).splitlines())
    found = set(show(side, ours(side, tmp_path), listing).splitlines())
    different = {
        PATTERNS[int(path.split("/")[1].removeprefix("p"))]: sorted(
            x for x in found ^ theirs if x.startswith("/".join(path.split("/")[:2]) + "/")
        )
        for path in found ^ theirs
    }
    assert not different


@pytest.mark.parametrize("content", ROOTS)
def test_ignore_files(side: Side, tmp_path: Path, content: str) -> None:
    fill(tmp_path)
    (tmp_path / ".dockerignore").write_text(content + "\n", newline="")
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN mkdir /ctx\nCOPY . /ctx\n")
    assert refusal(side, tmp_path) == ""
    listing = "cd /ctx && find . | sort"
    assert show(side, ours(side, tmp_path), listing) == show(side, PLAIN, listing)


def test_malformed_patterns(side: Side, tmp_path: Path) -> None:
    """A malformed pattern is refused, like by the engine's command, with its line."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCOPY . /ctx\n")
    taken = []
    for pattern in MALFORMED:
        (tmp_path / ".dockerignore").write_text(f"ok\n{pattern}\n")
        if not refusal(side, tmp_path):
            taken.append(pattern)
        with pytest.raises(ConfigError, match="dockerignore' has the pattern"):
            ours(side, tmp_path)
    assert not taken
