"""Commands of tools: packages with several commands, and packages that list none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lisa_container import ContainerExecutor
from lisa_container.install import PackageSettings, Tool, ToolVerifyError, remove_layers
from tests.support.shop import open_shop, put

# Each takes seconds; see `sampled` in docs/testing.md.
pytestmark = pytest.mark.sampled(1, "commands")


def test_several_commands_in_a_package(container: ContainerExecutor) -> None:
    """A command named like a part of its package stands for it; otherwise all must exist."""
    (xz, ping, hosts) = container.install("xz-utils", "iputils-ping", "bsdextrautils")
    assert (xz.command, ping.command, hosts.command) == ("/usr/bin/xz", "/usr/bin/ping", "")
    assert ping.verified.startswith("ping from iputils"), "it knows -V, not --version"
    assert re.match(r"commands: (\w+, )+", hosts.verified) and "hexdump" in hosts.verified
    (tool,) = container.install(Tool("xz-utils", command="xzcat", expect=r"liblzma \d"))
    assert tool.command == "/usr/bin/xzcat"
    with pytest.raises(ToolVerifyError, match=r"several commands \(.*hexdump.*command="):
        container.install(Tool("bsdextrautils", expect="x"))


def test_several_commands_in_a_layer(make: Any) -> None:
    """A cached layer has packages none of whose commands is named like the package."""
    names = ("util-linux", "coreutils")
    first = make()
    made = first.install(*names, cached=True)
    assert [tool.command for tool in made] == ["", ""]
    assert "/usr/bin/lscpu" in made[0].commands and len(made[1].commands) > 50
    assert first.install(*names, cached=True) == made, "as by the next case of a suite"
    second = make()
    found = second.install(*names, cached=True)
    assert found == [replace(tool, log="", from_cache=True) for tool in made]
    first.stop()
    second.stop()
    assert made[0].layer in remove_layers(first.engine)


SOURCES = {
    "points": "entry_points={'console_scripts': ['points=points:main']}",
    "scripts": "scripts=['bin/run']",
}


def test_pip_from_source(python: ContainerExecutor) -> None:
    """A source distribution is installed; old versions of pip keep no list of its files."""
    for name, declared in SOURCES.items():
        files = {
            "setup.py": f"from setuptools import setup\nsetup(name={name!r}, version='1.5', "
            f"py_modules=[{name!r}], {declared})\n",
            f"{name}.py": f"def main():\n    print('{name} 1.5')\n",
            "bin/run": f"#!/usr/bin/env python3\nimport {name}\n{name}.main()\n",
            "MANIFEST.in": "include bin/run\n",
        }
        for path, text in files.items():
            put(python, f"/src/{name}-1.5/{path}", text.encode())
        file, folder = f"{name}-1.5.tar.gz", f"/shop/simple/{name}"
        python.run(f"mkdir -p {folder} && tar -C /src -czf {folder}/{file} {name}-1.5")
        put(python, f"{folder}/index.html", f'<a href="{file}">{file}</a>'.encode())
    open_shop(python, 8000, "/shop")
    settings = PackageSettings({"PIP_INDEX_URL": "http://127.0.0.1:8000/simple/"})
    tools = [Tool(name, version="1.5", via="pip") for name in SOURCES]
    found = python.install(*tools, settings=settings)
    assert [tool.version for tool in found] == ["1.5", "1.5"]
    commands = [tool.command.rpartition("/")[2] for tool in found]
    assert commands == ["points", "run"], "its own, not those of its environment"
