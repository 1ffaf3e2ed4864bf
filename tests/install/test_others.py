"""Package managers of other distributions and languages, the real programs from Debian.

The tests make the repositories in the container.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lisa_container import ContainerExecutor
from lisa_container.install import (
    PackageSettings,
    Tool,
    ToolConflictError,
    ToolNotFoundError,
    ToolUnreachableError,
    ToolVersionError,
    installer,
)
from tests.support.shop import put

# Each takes seconds; see `sampled` in docs/testing.md.
pytestmark = pytest.mark.sampled(1, "managers")

# Each in a layer of its own, or with what it is used with.
RPM = Tool("rpm", packages=["dnf", "zypper", "createrepo-c"])
PACMAN = Tool(
    "pacman-package-manager", command="pacman", packages=["makepkg", "zstd", "libarchive-tools"]
)
RUBY = Tool("ruby")
GO = Tool("golang-go", command="go", verify="go version")
CARGO = Tool("cargo", packages=["gcc", "libc6-dev"])

NOTHING = PackageSettings.none()

SPEC = """
Name: {name}
Version: {version}
Release: 1
Summary: x
License: x
BuildArch: noarch
AutoReqProv: no
{more}
%description
x
%install
mkdir -p %{{buildroot}}/usr/bin
printf '#!/bin/sh\\necho {name} {version}\\n' >%{{buildroot}}/usr/bin/{name}
chmod 755 %{{buildroot}}/usr/bin/{name}
%files
/usr/bin/{name}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_DELAYS", (0.1, 0.1, 0.1))


def do(container: ContainerExecutor, command: str) -> str:
    return container.run(command, expected_exit_code=0, timeout=120).stdout


# --- rpm: dnf and zypper --------------------------------------------------------------------------


def repository_of_rpms(container: ContainerExecutor, manager: str) -> None:
    """Make a repository with pinger 1.2 and 2.0, and a package with a missing dependency."""
    # Debian's rpm has a database for each user, unlike all others.
    put(container, "/root/.rpmmacros", b"%_dbpath /var/lib/rpm\n")
    for name, version, more in (
        ("pinger", "1.2", ""),
        ("pinger", "2.0", ""),
        ("lonely", "1.0", "Requires: something-nowhere"),
    ):
        spec = SPEC.format(name=name, version=version, more=more)
        put(container, "/src/x.spec", spec.encode())
        do(container, "rpmbuild -bb --define '_rpmdir /repository' /src/x.spec")
    do(container, "createrepo_c /repository")
    repo = "[shop]\nname=shop\nbaseurl=file:///repository\ngpgcheck=0\nenabled=1\n"
    folder = {"dnf": "/etc/yum.repos.d", "zypper": "/etc/zypp/repos.d"}[manager]
    put(container, f"{folder}/shop.repo", repo.encode())


@pytest.mark.parametrize("manager", ["dnf", "zypper"])
def test_rpm(make: Any, manager: str) -> None:
    container = make(RPM)
    repository_of_rpms(container, manager)

    def install(name: str, version: str = "") -> Any:
        tool = Tool(name, version=version, via=manager)
        (found,) = container.install(tool, settings=NOTHING)
        return found

    found = install("pinger", "1.2")
    assert (found.version, found.command, found.origin) == ("1.2-1", "/usr/bin/pinger", "shop")
    assert found.verified == "pinger 1.2"
    assert re.fullmatch("sha256-header:[0-9a-f]{64}", found.checksum)
    with pytest.raises(ToolVersionError, match=f"{manager} has no version 3 .* 2.0-1, 1.2-1"):
        install("pinger", "3")
    assert install("pinger", "2.0-1").verified == "pinger 2.0"
    with pytest.raises(ToolNotFoundError, match="nopinger"):
        install("nopinger")
    with pytest.raises(ToolConflictError, match="something-nowhere"):
        install("lonely")
    do(container, "rm -rf /repository /var/cache/dnf /var/cache/zypp")
    with pytest.raises(ToolUnreachableError):
        install("lonely")


# --- pacman ---------------------------------------------------------------------------------------


def test_pacman(make: Any) -> None:
    container = make(PACMAN)
    info = "pkgname = {0}\npkgver = {1}\npkgdesc = x\narch = any\nsize = 1\nbuilddate = 1\n{2}"
    for name, version, more in (
        ("pinger", "1.2-1", ""),
        ("lonely", "1-1", "depend = something-nowhere\n"),
    ):
        folder = f"/src/{name}"
        put(container, f"{folder}/usr/bin/{name}", f"#!/bin/sh\necho {name} {version}\n".encode())
        put(container, f"{folder}/.PKGINFO", info.format(name, version, more).encode())
        do(
            container,
            f"mkdir -p /repository; cd {folder}; chmod 755 usr/bin/{name}; tar --zstd "
            f"-cf /repository/{name}-{version}-any.pkg.tar.zst .PKGINFO usr",
        )
    do(container, "cd /repository; repo-add shop.db.tar.gz *.pkg.tar.zst")
    put(
        container,
        "/etc/pacman.conf",
        b"[options]\nArchitecture = auto\nSigLevel = Never\n[shop]\nServer = file:///repository\n",
    )

    def install(name: str, version: str = "") -> Any:
        (found,) = container.install(Tool(name, version=version, via="pacman"), settings=NOTHING)
        return found

    with pytest.raises(ToolVersionError, match="pacman has no version 3 of it. It has: 1.2-1"):
        install("pinger", "3")
    assert container.run("command -v pinger").exit_code != 0
    found = install("pinger", "1.2")
    assert (found.version, found.command, found.origin) == ("1.2-1", "/usr/bin/pinger", "shop")
    assert found.verified == "pinger 1.2-1"
    with pytest.raises(ToolNotFoundError, match="target not found: nopinger"):
        install("nopinger")
    with pytest.raises(ToolConflictError, match="something-nowhere"):
        install("lonely")
    do(container, "rm -rf /repository /var/lib/pacman/sync/*")
    with pytest.raises(ToolUnreachableError):
        install("lonely")


# --- gem, go, cargo -------------------------------------------------------------------------------


def test_gem(make: Any) -> None:
    container = make(RUBY)
    for version in ("1.2.0", "2.0.0"):
        put(container, "/src/bin/pinger", f"#!/usr/bin/ruby\nputs 'pinger {version}'\n".encode())
        put(
            container,
            "/src/pinger.gemspec",
            f"Gem::Specification.new {{ |s| s.name='pinger'; s.version='{version}'; s.summary='x'; "
            "s.authors=['x']; s.files=['bin/pinger']; s.executables=['pinger'] }".encode(),
        )
        do(container, "cd /src && mkdir -p /shop/gems && gem build -q pinger.gemspec")
        do(container, f"mv /src/pinger-{version}.gem /shop/gems")
    do(container, "gem generate_index -q -d /shop")
    settings = PackageSettings(
        {"GEMRC": "{folder}/gemrc"}, {"gemrc": b"---\n:sources:\n- file:///shop/\n"}
    )

    def install(name: str, version: str = "") -> Any:
        (found,) = container.install(Tool(name, version=version, via="gem"), settings=settings)
        return found

    found = install("pinger", "1.2.0")
    assert (found.version, found.verified) == ("1.2.0", "pinger 1.2.0")
    assert found.origin == "file:///shop/"
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.checksum)
    with pytest.raises(ToolVersionError, match=r"gem has no version 3 of it. It has: 2.0.0, 1.2.0"):
        install("pinger", "3")
    with pytest.raises(ToolNotFoundError, match="nopinger"):
        install("nopinger")


def take_place(container: ContainerExecutor, name: str) -> str:
    """Make the folder at the fixed name of earlier versions, as another user of the container."""
    path = f"/var/tmp/lisa_container_{name}"
    do(container, f"install -d -m 777 -o 1000 {path}")
    return path


def test_go(make: Any) -> None:
    container = make(GO)
    taken = take_place(container, "go")
    module, proxy = "example.org/pinger", "/proxy/example.org/pinger/@v"
    mod = f"module {module}\n\ngo 1.18\n"
    for version in ("v1.2.0", "v2.0.0-rc1"):
        code = f'package main\n\nfunc main() {{ println("pinger {version}") }}\n'
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{module}@{version}/go.mod", mod)
            archive.writestr(f"{module}@{version}/main.go", code)
        put(container, f"{proxy}/{version}.zip", buffer.getvalue())
        put(container, f"{proxy}/{version}.mod", mod.encode())
        put(container, f"{proxy}/{version}.info", json.dumps({"Version": version}).encode())
    put(container, f"{proxy}/list", b"v1.2.0\n")
    settings = PackageSettings({"GOPROXY": "file:///proxy", "GOSUMDB": "off"})

    def install(name: str, version: str = "") -> Any:
        (found,) = container.install(Tool(name, version=version, via="go"), settings=settings)
        return found

    found = install(module, "1.2.0")
    assert (found.version, found.command) == ("1.2.0", "/usr/local/bin/pinger")
    assert (found.origin, found.verified) == (module, "pinger v1.2.0")
    assert found.checksum.startswith("h1:")
    assert f"\n{module}\n" in Path(found.log).read_text(), "words for the progress"
    assert do(container, "ls -A /opt/lisa_container/go/*") == "bin", "no caches"
    with pytest.raises(ToolNotFoundError, match=r"v9.9.9"):
        install(module, "9.9.9")
    with pytest.raises(ToolNotFoundError, match="example.org/nopinger"):
        install("example.org/nopinger")
    assert do(container, "find /var/tmp/* -user 1000 -empty") == taken


def test_cargo(make: Any) -> None:
    container = make(CARGO)
    taken = take_place(container, "cargo")
    manifest = '[package]\nname = "pinger"\nversion = "1.2.0"\nedition = "2021"\n'
    code = 'fn main() { println!("pinger {}", env!("CARGO_PKG_VERSION")); }\n'
    put(container, "/crates/pinger/Cargo.toml", manifest.encode())
    put(container, "/crates/pinger/src/main.rs", code.encode())
    sums = json.dumps({"files": {}, "package": "0" * 64})
    put(container, "/crates/pinger/.cargo-checksum.json", sums.encode())
    config = '[source.crates-io]\nreplace-with = "shop"\n[source.shop]\ndirectory = "/crates"\n'
    settings = PackageSettings(
        {"LISA_CONTAINER_CARGO_CONFIG": "{folder}/cargo.toml"}, {"cargo.toml": config.encode()}
    )

    def install(name: str, version: str = "") -> Any:
        (found,) = container.install(Tool(name, version=version, via="cargo"), settings=settings)
        return found

    found = install("pinger", "1.2.0")
    assert (found.version, found.command) == ("1.2.0", "/usr/local/bin/pinger")
    assert found.verified == "pinger 1.2.0"
    assert found.origin.startswith("registry+")
    assert ".cargo" not in do(container, "ls -A /opt/lisa_container/cargo/*").split()
    with pytest.raises(ToolNotFoundError, match="could not find `nopinger`"):
        install("nopinger")
    with pytest.raises(ToolNotFoundError, match="could not find `pinger`.* with version `=9`"):
        install("pinger", "9")
    assert do(container, "find /var/tmp/* -user 1000 -empty") == taken
