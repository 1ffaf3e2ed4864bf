"""Packages come from the machine's own sources if their distribution signs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_container.debian import apt
from lisa_container.debian.apt import Source, connection_options, deb822_sources, one_line_sources
from lisa_container.errors import PackageSourceError

ARCHIVE = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_one_line_sources() -> None:
    text = f"""
# deb http://commented.example.com/debian stable main
deb http://mirror.example.com/debian stable main contrib   # with a comment
deb-src http://mirror.example.com/debian stable main
deb [arch=amd64 signed-by={ARCHIVE}] https://mirror.example.com/security stable-security main
deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example.com stable main
"""
    assert one_line_sources(text) == [
        Source("http://mirror.example.com/debian", "stable", ("main", "contrib")),
        Source("https://mirror.example.com/security", "stable-security", ("main",)),
    ]


def test_deb822_sources() -> None:
    text = f"""Types: deb deb-src
# a comment
URIs: http://mirror.example.com/debian http://other.example.com/debian
Suites: stable
  stable-updates
Components: main
Signed-By: {ARCHIVE}

Types: deb
URIs: https://vendor.example.com
Suites: any
Components: main
Signed-By: /etc/apt/keyrings/vendor.gpg

Types: deb
Enabled: no
URIs: http://off.example.com
Suites: stable
Components: main

Types: deb-src
URIs: http://source.example.com
Suites: stable
Components: main
"""
    both = ("http://mirror.example.com/debian", "http://other.example.com/debian")
    assert deb822_sources(text) == [
        Source(uri, suite, ("main",)) for uri in both for suite in ("stable", "stable-updates")
    ]


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a machine with Debian stable, updates, security, and a vendor's repository."""
    sources = [
        Source("http://mirror.example.com/debian", "stable", ("main", "contrib")),
        Source("http://mirror.example.com/debian", "stable-updates", ("main",)),
        Source("http://mirror.example.com/security", "stable-security", ("main",)),
        Source("http://mirror.example.com/debian", "stable-backports", ("main",)),
        Source("http://vendor.example.com", "nodistro", ("main",)),
    ]
    monkeypatch.setattr(apt, "_machine", lambda: ("debian", "stable"))
    monkeypatch.setattr(apt, "_sources", lambda: sources)
    monkeypatch.setattr(apt, "_options", lambda: ['Acquire::http::Proxy "http://p.example.com"'])


@pytest.mark.usefixtures("debian")
def test_release_of_the_machine() -> None:
    found = apt.package_sources()
    assert found.suite == "stable"
    assert [line.split()[-3:] for line in found.lines] == [
        ["http://mirror.example.com/debian", "stable", "main"],
        ["http://mirror.example.com/debian", "stable-updates", "main"],
        ["http://mirror.example.com/security", "stable-security", "main"],
    ]
    assert found.options == ('Acquire::http::Proxy "http://p.example.com"',)


@pytest.mark.usefixtures("debian")
def test_another_release_from_the_main_archive() -> None:
    found = apt.package_sources(suite="testing")
    ends = [line.split()[-3:] for line in found.lines]
    assert ends == [["http://mirror.example.com/debian", "testing", "main"]]


@pytest.mark.usefixtures("debian")
def test_another_mirror() -> None:
    found = apt.package_sources(mirror="http://near.example.com/debian")
    assert [line.split()[-3] for line in found.lines] == ["http://near.example.com/debian"]


@pytest.mark.usefixtures("debian")
def test_no_source_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "_sources", lambda: [])
    with pytest.raises(PackageSourceError, match=r"no source for debian stable; .*`mirror`"):
        apt.package_sources()


def test_neither_debian_nor_ubuntu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "_machine", lambda: ("", ""))
    with pytest.raises(PackageSourceError, match=r"neither Debian nor Ubuntu.*`mirror`"):
        apt.package_sources(suite="stable")
    found = apt.package_sources(suite="stable", mirror="http://near.example.com/debian")
    assert found.lines[0].endswith("http://near.example.com/debian stable main")


@pytest.mark.parametrize(
    ("release", "machine"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", ("debian", "bookworm")),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME="noble"\n', ("ubuntu", "noble")),
        (
            'ID=mint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n',
            ("ubuntu", "noble"),
        ),
        ("ID=fedora\nVERSION_ID=42\n", ("", "")),
    ],
)
def test_distributions(
    release: str, machine: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "os-release"
    file.write_text(release)
    monkeypatch.setattr(apt, "_OS_RELEASE", file)
    assert apt._machine() == machine


def test_mirror_that_a_file_names(tmp_path: Path) -> None:
    file = tmp_path / "mirrors.list"
    file.write_text("# nearest first\nhttp://near.example.com/debian\tpriority:1\n")
    text = f"Types: deb\nURIs: mirror+file://{file}\nSuites: stable\nComponents: main\n"
    near = Source("http://near.example.com/debian", "stable", ("main",))
    assert deb822_sources(text) == [near]
    assert one_line_sources(f"deb mirror+file:{file} stable main") == [near]


def test_options_say_how_to_reach_a_mirror() -> None:
    dump = """APT "";
Acquire::http "";
Acquire::http::Proxy "http://p.example.com";
Acquire::https::CaInfo "/etc/ssl/certs/ours.crt";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::Languages:: "none";
DPkg::Post-Invoke:: "rm";
"""
    assert connection_options(dump) == [
        'Acquire::http::Proxy "http://p.example.com"',
        'Acquire::https::CaInfo "/etc/ssl/certs/ours.crt"',
        'Acquire::Check-Valid-Until "false"',
        'Acquire::Languages:: "none"',
    ]


def test_this_machine() -> None:
    assert apt.package_sources().lines
