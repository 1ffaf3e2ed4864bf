"""Parts of a build that need no engine: spec, Dockerfile and context."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lisa.util import constants

from lisa_container import ConfigError, ContainerTestConfig
from lisa_container.config import BuildSpec
from lisa_container.images.build.context import DOCKERFILE, Context
from lisa_container.images.build.dockerfile import Dockerfile
from lisa_container.images.build.ignore import IgnoreFile

# --- the spec -----------------------------------------------------------------------------------


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(constants, "RUNBOOK_PATH", raising=False)
    here = str(tmp_path)
    found = [
        BuildSpec("x"),
        BuildSpec("x", "y/File"),
        BuildSpec(dockerfile="y/File"),
        BuildSpec(dockerfile_inline="FROM x"),
        BuildSpec("x", dockerfile_inline="FROM x"),
    ]
    assert [(each.context, each.dockerfile) for each in found] == [
        (f"{here}/x", f"{here}/x/Dockerfile"),
        (f"{here}/x", f"{here}/x/y/File"),
        (f"{here}/y", f"{here}/y/File"),
        ("", ""),
        (f"{here}/x", ""),
    ]
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path / "books", raising=False)
    assert BuildSpec("x").context == f"{here}/books/x"
    assert BuildSpec("/x").context == "/x"


def test_in_a_config(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    config = ContainerTestConfig(build=str(tmp_path)).require_image()
    assert config.build_spec == BuildSpec(context=str(tmp_path))
    assert ContainerTestConfig.from_dict(config.to_dict()) == config
    assert hash(config) and config.key() != ContainerTestConfig(build="/other").key()
    assert config.merged(image="debian").build == {}
    assert ContainerTestConfig(image="debian").merged(build=str(tmp_path)).image == ""
    assert config.merged(build={"dockerfile_inline": "FROM y"}).build_spec.context == ""
    spec = BuildSpec(dockerfile_inline="FROM x", args={"A": 1})
    assert ContainerTestConfig(build=spec).build_spec == spec


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "build: given a int; legal: a folder"),
        ({"contxt": "x"}, "did you mean 'context'"),
        ({"target": "x"}, "no Dockerfile"),
        ({"dockerfile": "x", "dockerfile_inline": "y"}, "legal: one of them"),
        ({"context": 3}, "build.context: given 3"),
        ({"context": "x", "args": ["A=hunter2"]}, "build.args"),
        ({"context": "x", "args": {"A": ["hunter2"]}}, "build.args, value of 'A'"),
    ],
)
def test_wrong(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ContainerTestConfig(build=value)


def test_image_beside() -> None:
    with pytest.raises(ConfigError, match="beside image 'debian'; legal: one of them"):
        ContainerTestConfig(image="debian", build="x")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for spec, message in (
        (BuildSpec(str(tmp_path / "none")), "build.context: .*a folder of this machine"),
        (BuildSpec(str(tmp_path)), "build.dockerfile: .*a Dockerfile of this machine"),
    ):
        with pytest.raises(ConfigError, match=message):
            ContainerTestConfig(build=spec).require_image()


# --- the Dockerfile -----------------------------------------------------------------------------

STAGES = """\
# syntax=docker/dockerfile:1
ARG BASE=debian:12
ARG OTHER
FROM --platform=linux/amd64 ${BASE} AS Build
RUN echo a \\
  && echo b
from $OTHER
COPY --from=build /a /b
COPY --chown=1 --link --from=tools:1 /a /b
FROM ${NONE:-fallback:2}${BASE:+x} as last
COPY --from=0 / /
FROM build
FROM scratch
"""


@pytest.mark.parametrize(
    ("args", "target", "bases"),
    [
        ({"OTHER": "o:1"}, "", ["debian:12", "o:1", "tools:1", "fallback:2x"]),
        ({"OTHER": "o:1", "BASE": "alpine"}, "BUILD", ["alpine"]),
        ({"OTHER": "o:1"}, "1", ["debian:12", "o:1", "tools:1"]),
    ],
)
def test_bases(args: dict[str, str], target: str, bases: list[str]) -> None:
    assert Dockerfile(STAGES.encode()).bases(args, target) == bases


def test_given_platform() -> None:
    dockerfile = Dockerfile(b"ARG TARGETARCH\nFROM a-${TARGETARCH}")
    assert dockerfile.bases({"TARGETARCH": "arm64"}, "") == ["a-arm64"]


def test_instructions() -> None:
    text = "# escape=`\nFROM x `\n  # a comment within\n\n  as y\nRUN dir c:\\\nLABEL z\n"
    found = [(x.word, x.rest, x.end) for x in Dockerfile(text.encode()).instructions]
    assert [(word, " ".join(rest.split()), end) for word, rest, end in found] == [
        ("FROM", "x as y", 4),
        ("RUN", "dir c:\\", 5),
        ("LABEL", "z", 6),
    ]


def test_labelled() -> None:
    """A label follows each FROM, and errors keep the line numbers of the user's text."""
    dockerfile = Dockerfile(b"FROM a \\\n as b\nRUN 1\nFROM b\nRUN 2\n")
    labelled = dockerfile.labelled("LABEL l").decode().splitlines()
    assert labelled == ["FROM a \\", " as b", "LABEL l", "RUN 1", "FROM b", "LABEL l", "RUN 2"]
    lines = dockerfile.content.decode().splitlines()
    for number, line in enumerate(labelled, 1):
        if line != "LABEL l":
            assert lines[dockerfile.line_of(number) - 1] == line


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("RUN x", "", "without FROM"),
        ("FROM a AS b", "c", r"build.target: given 'c'; legal: a stage of the Dockerfile \('b'\)"),
        ("FROM a", "1", "none has a name"),
        ("ARG X\nFROM $X", "", "is an ARG missing"),
        ("FROM Debian", "", "did you mean 'debian'"),
    ],
)
def test_wrong_dockerfiles(text: str, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Dockerfile(text.encode()).bases({}, target)


UNCLEAR = [
    ("FROM ${A%x}", []),  # only newer engines know it
    ("FROM ${A:?no}", []),
    ("FROM 'a", []),
    ('ARG X="a\nFROM $X', []),
    ('ARG X="a\nFROM y', ["y"]),
    ("FROM a\nCOPY --from=$X / /", ["a"]),
    ("FROM a-${TARGETARCH}\nFROM b:$BUILDOS", []),
    ("ARG TARGETARCH\nFROM a-${TARGETARCH}\nFROM b", ["b"]),
    ("ARG TARGETPLATFORM=x\nFROM a-${TARGETPLATFORM:-y}\nFROM b", ["b"]),
    ("ARG BASE=a-$TARGETVARIANT\nFROM $BASE\nFROM b", ["b"]),
    ("FROM a\nRUN cat <<EOF\nFROM b\nEOF\nFROM c", ["a", "c"]),
    ("FROM a\nRUN echo $((1<<2))\nFROM c", ["a", "c"]),
    ("FROM a\nRUN cat <<-'E F'\nFROM c", ["a", "c"]),
    ("FROM a\nCOPY <<A <<B /x/\nFROM 1\nA\nFROM 2\nB\nFROM d", ["a", "d"]),
    ("FROM a \\", ["a"]),
    ("FROM a \\\n", ["a"]),
]


@pytest.mark.parametrize(("text", "bases"), UNCLEAR)
def test_bases_that_only_the_engine_knows(text: str, bases: list[str]) -> None:
    """Bases with values of the engine are left out; here-documents have no instructions."""
    dockerfile = Dockerfile(text.encode())
    assert dockerfile.bases({}, "") == bases
    lines = dockerfile.labelled("LABEL l").decode().split("\n")
    assert [line for line in lines if line != "LABEL l"] == text.split("\n")


# --- the context --------------------------------------------------------------------------------


def members(context: Context) -> dict[str, tarfile.TarInfo]:
    data = b"".join(context.stream(b"FROM x\n"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/b/c.txt", "a/b/d.log", "e.log", "keep.log", "node/x", "Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a/b/c.txt").chmod(0o751)
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_stream(folder: Path) -> None:
    found = members(Context(BuildSpec(str(folder))))
    files = {"a/b/c.txt", "a/b/d.log", "e.log", "keep.log", "node/x", "Dockerfile", "link"}
    assert set(found) == {*files, "a", "a/b", "node", ".dockerignore", DOCKERFILE}
    assert (found["a/b/c.txt"].mode, found["a/b/c.txt"].uid) == (0o751, 0)
    assert (found["link"].issym(), found["link"].linkname) == (True, "nowhere")


def test_ignored(folder: Path) -> None:
    (folder / ".dockerignore").write_text("# no logs\n**/*.log\n!keep.log\n\nnode\n")
    found = members(Context(BuildSpec(str(folder))))
    assert {"a/b/c.txt", "keep.log", "Dockerfile"} <= set(found)
    assert not {"a/b/d.log", "e.log", "node", "node/x"} & set(found)
    (folder / "Dockerfile.dockerignore").write_text("a\n")
    assert {"e.log", "node/x"} < set(members(Context(BuildSpec(str(folder)))))


@pytest.mark.parametrize(
    ("pattern", "ignored"),
    [
        ("a+b", ["a+b"]),
        ("^a", ["^a"]),
        ("(a)", ["(a)"]),
        ("a|b", ["a|b"]),
        ("{a,b}", ["{a,b}"]),
        ("$x", ["$x"]),
        ("  a\t", ["a"]),
        ("a\r", ["a"]),
        ("\N{NO-BREAK SPACE}a\N{LINE SEPARATOR}", ["a"]),
        ("#a\n #a", ["#a"]),
        ("! a\na", ["a"]),
        ("a\n! a", []),
        ("[^a]", ["b", "^", "!", "]", "d/a"]),
        ("[!a]", ["a", "!"]),
        ("[b-a]", []),
        ("[^b-a]", ["a", "b", "^", "!", "]", "d/a"]),
        ("[a\\]]", ["a", "]"]),
        ("d[^x]a", ["d/a"]),
        ("d?a", []),
        ("A", []),
        ("../a", []),
        ("/../a", ["a"]),
        ("d/../a", ["a"]),
        (".", []),
        ("caf\udce9", ["caf\udce9"]),
    ],
)
def test_patterns(pattern: str, ignored: list[str]) -> None:
    """Patterns match like Go's `filepath.Match` after `Clean`; see also tests/engine."""
    names = [
        "a",
        "b",
        "^",
        "!",
        "]",
        "^a",
        "a+b",
        "(a)",
        "a|b",
        "{a,b}",
        "$x",
        "#a",
        "d/a",
        "caf\udce9",
    ]
    found = IgnoreFile(pattern.encode("utf-8", "surrogateescape"))
    assert [x for x in names if found.ignores(x)] == sorted(ignored, key=names.index)


def test_digest(folder: Path) -> None:
    """The digest depends on contents, modes, links and names, not on times and ignored files."""
    spec = BuildSpec(str(folder))
    first = Context(spec).digest()
    os.utime(folder / "e.log", (1, 1))
    assert Context(spec).digest() == first
    seen = {first}
    changes = [
        lambda: (folder / "e.log").write_text("other"),
        lambda: (folder / "e.log").chmod(0o600),
        lambda: (folder / "e.log").rename(folder / "f.log"),
        lambda: ((folder / "link").unlink(), (folder / "link").symlink_to("there")),
        lambda: (folder / "empty").mkdir(),
    ]
    for change in changes:
        change()
        digest = Context(spec).digest()
        assert digest not in seen
        seen.add(digest)
    (folder / ".dockerignore").write_text("*.log\n")
    ignoring = Context(spec).digest()
    (folder / "f.log").write_text("again another")
    assert Context(spec).digest() == ignoring


def test_same_size_and_time(folder: Path) -> None:
    """An old file is not read again, but a change with an equal size and time is noticed."""
    spec, file = BuildSpec(str(folder)), folder / "e.log"
    first = Context(spec).digest()
    before = file.stat()
    file.write_text("E.LOG")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Context(spec).digest() != first


def test_no_context() -> None:
    assert set(members(Context(BuildSpec(dockerfile_inline="FROM x")))) == {
        ".dockerignore",
        DOCKERFILE,
    }
