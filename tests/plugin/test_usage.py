"""Mistakes in the plugin's options and markers, which are found before the first test runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lisa_container.errors import ConfigError
from lisa_container.microvm.machine import qemu
from lisa_container.platforms.sandbox import SandboxNode

pytest_plugins = ("pytester",)

LOCAL = "--lisa-node=local"
KEY = f"--lisa-key={__file__}"
# The first address for documentation (RFC 5737): no machine has it.
NOWHERE = "--lisa-node=ssh://me@192.0.2.1"

SCRIPT = """
import sys
import pytest

class Watch:
    def pytest_unconfigure(self):
        slow = {"lisa", "docker", "paramiko", "lisa_container.config"} & sys.modules.keys()
        assert not slow, slow
        assert "lisa_container.pytest_plugin.plugin" in sys.modules

sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", LOCAL, "test_plain.py"], [Watch()]))
"""


def usage_error(pytester: pytest.Pytester, *words: str) -> str:
    """Run pytest in this process, with a test that would fail; return the error."""
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)
    assert run.ret == pytest.ExitCode.USAGE_ERROR, run.stdout.str()
    run.stdout.no_fnmatch_line("*failed*")
    (line,) = [line for line in run.stderr.lines if line.startswith("ERROR: ")]
    return line.partition(" ")[2]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (
            "",
            "test_it.py::test: @pytest.mark.container: the test uses the fixture 'container' and ",
        ),
        ("@pytest.mark.container(imagee='x')", "given 'imagee'; did you mean 'image'?"),
        ("@pytest.mark.container('x', 'y')", "given 2 arguments without a name; legal: the image"),
        ("@pytest.mark.container('x', scope='suite')", "scope: given 'suite'; legal: function, "),
        ("@pytest.mark.container('x', memory='1')", "memory: given '1'; legal: "),
        ("@pytest.mark.container(build='/missing')", "/missing"),
    ],
)
def test_marker(pytester: pytest.Pytester, marker: str, message: str) -> None:
    pytester.makepyfile(test_it=f"import pytest\n{marker}\ndef test(container): assert False\n")
    assert message in usage_error(pytester, LOCAL)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "memory=512",
            "test_it.py::test: @pytest.mark.vmtest: unknown field: given 'memory'; did ",
        ),
        ("memory=512", "did you mean 'memory_mib'?"),
        ("image={'package': ['git']}", "image, unknown field: given 'package'; did you mean 'pack"),
        ("cores=0", "vm, cores: given 0; legal: a whole number from 1 to 64"),
        ("scope='suite'", "scope: given 'suite'; legal: function, class, module, session"),
        ("512", "given 512 without the name of a field"),
    ],
)
def test_vm_marker(pytester: pytest.Pytester, fields: str, message: str) -> None:
    text = f"import pytest\n@pytest.mark.vmtest({fields})\ndef test(vm): assert False\n"
    pytester.makepyfile(test_it=text)
    assert message in usage_error(pytester)


@pytest.mark.parametrize("fixture", ["vm", "vm_factory", "node"])
def test_no_qemu(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fixture: str) -> None:
    # The package looks into the system's folders, too.
    monkeypatch.setattr(qemu, "environment", lambda: {"PATH": "/nowhere"})
    pytester.makepyfile(f"def test({fixture}): assert False\n")
    assert "`apt-get install -y --no-install-recommends qemu-" in usage_error(
        pytester, "--lisa-node=microvm"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lisa-node=qemu"], "legal: 'local', 'microvm', 'ssh://user@host[:port]'"),
        (["--lisa-node=microvm://x"], "given 'microvm://x'; legal: "),
        (["--lisa-node=local://x"], "given 'local://x'; legal: "),
        (["--lisa-node=me@host"], "given 'me@host'; legal: "),
        (["--lisa-node=ssh://host"], "given 'ssh://host'; legal: "),
        (["--lisa-node=ssh://me:secret@host"], "environment variable LISA_CONTAINER_PASSWORD"),
        ([NOWHERE, "--lisa-key", __file__], "write it as one word, '--lisa-key="),
        ([], "no node for the tests was named: give --lisa-node, or 'lisa_node' in pytest's"),
        ([NOWHERE], "no way to log in as 'me@192.0.2.1'. Give the user's private key with"),
        ([NOWHERE, "--lisa-log=/proc/none"], "--lisa-log: folder '/proc/none' cannot be made: "),
        ([NOWHERE, "--lisa-key=missing"], "--lisa-key: there is no file '"),
    ],
)
def test_option(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.delenv("LISA_CONTAINER_PASSWORD", raising=False)
    pytester.makepyfile("def test(node): assert False\n")
    error = usage_error(pytester, *words)
    assert message in error and "secret" not in error


def test_unreachable(pytester: pytest.Pytester, machine: SandboxNode) -> None:
    """A node that does not answer, or refuses the login, is reported once, not by each test."""
    pytester.makepyfile("def test(node): assert False\ndef test_2(engine): assert False\n")
    where = f"ssh://{machine.username}@{machine.address}"
    assert "port 9 of" in usage_error(pytester, f"--lisa-node={where}:9", KEY)
    assert "cannot log in at" in usage_error(pytester, f"--lisa-node={where}:22", KEY)


def test_ini(pytester: pytest.Pytester) -> None:
    """Options of the ini file hold, with paths relative to it; the command line replaces them."""
    pytester.makeini(f"[pytest]\nlisa_node = {NOWHERE.partition('=')[2]}\nlisa_key = keys/key\n")
    pytester.makepyfile("def test(node): assert False\n")
    pytester.mkdir("below")
    assert f"no file '{pytester.path}/keys/key'" in usage_error(pytester, "--rootdir=below")
    assert f"no file '{pytester.path}/other'" in usage_error(pytester, "--lisa-key=other")
    assert "given 'nowhere'" in usage_error(pytester, "--lisa-node=nowhere")


def test_nothing_to_check(pytester: pytest.Pytester) -> None:
    """Tests that are not to run, and listings of tests, need no node."""
    pytester.makepyfile("def test_node(node): pass\ndef test_plain(): pass\n")
    pytester.runpytest_inprocess("-k", "plain").assert_outcomes(passed=1, deselected=1)
    assert pytester.runpytest_inprocess("--collect-only").ret == 0
    run = pytester.runpytest_inprocess("--markers", "--strict-markers")
    run.stdout.fnmatch_lines(["@pytest.mark.container(image, *", "@pytest.mark.vmtest(scope=*"])


def test_costs_nothing(pytester: pytest.Pytester) -> None:
    """Without a test that uses it, the plugin imports neither LISA nor anything else slow."""
    pytester.makepyfile(test_plain="def test(tmp_path): pass\n")
    script = SCRIPT.replace("LOCAL", repr(LOCAL))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_testinfra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testinfra.backend.base", None)
    monkeypatch.delitem(sys.modules, "lisa_container.testinfra", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'lisa-container\[testinfra\]'"):
        import lisa_container.testinfra  # noqa: F401
