"""Run mmdebstrap: a root file system of packages, without what a test machine does not need."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Callable

from lisa_container.debian.apt import PackageSources
from lisa_container.errors import BootstrapError
from lisa_container.escaping import quote_output
from lisa_container.system import environment

_ID_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
# Example of a range.
_IDS = "100000-165535"

Report = Callable[[str], None]

EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
"""Documentation, which is not needed on a node; leaving it out saves 10 % of the time."""

NODE_PACKAGES = (
    "openssh-server",
    "sudo",
    "iproute2",
    "iptables",
    "procps",
    "psmisc",
    "mount",
    "kmod",
    "e2fsprogs",
    "iputils-ping",
)
"""Packages of each node, whether it has a kernel of its own or not."""

DOCKER_PACKAGES = ("docker.io", "?exact-name(docker-cli)")
"""Docker Engine and its client; an apt pattern, because docker-cli is a separate package only since
Debian 13."""

_OUTPUT_LINES = 15


def bootstrap(
    sources: PackageSources,
    packages: Iterable[str],
    options: Iterable[str],
    target: Path,
    report: Report,
    *,
    temporary: Path,
    excluded: Iterable[str] = EXCLUDED,
) -> None:
    """Make a root file system.

    Args:
        sources: package sources.
        packages: names of packages, or apt patterns.
        options: further options of mmdebstrap: format, hooks.
        target: folder or file to make, as the format says.
        report: function that gets the progress, line by line.
        temporary: folder for temporary files, on a real file system.
        excluded: patterns of paths that packages do not install.

    Raises:
        BootstrapError: mmdebstrap failed, or this user cannot have a user namespace.
    """
    apt_options = ['APT::Install-Recommends "false"', *sources.options]
    if os.geteuid() != 0:
        # apt's own user cannot reach folders that are this user's alone.
        apt_options.append('APT::Sandbox::User "root"')
    command = [
        *root_of_own_namespaces(),
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        *options,
        # One option each, because mmdebstrap splits a list with a pattern differently.
        *(f"--include={package}" for package in packages),
        *(f"--aptopt={option}" for option in apt_options),
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in excluded),
        sources.suite,
        str(target),
        "-",
    ]
    output: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={
            **environment(),
            "DEBIAN_FRONTEND": "noninteractive",
            "TMPDIR": str(temporary),
        },
    ) as process:
        assert process.stdin and process.stderr
        with suppress(BrokenPipeError):
            process.stdin.write("".join(f"{line}\n" for line in sources.lines))
            process.stdin.close()
        for line in process.stderr:
            output.append(line.rstrip())
            if line.startswith("I: "):
                report(line[3:].rstrip())
    if process.returncode != 0:
        raise BootstrapError(
            f"mmdebstrap could not make a root file system of {sources.suite}:"
            f" {quote_output(chr(10).join(output[-_OUTPUT_LINES:]))}\nIt failed with"
            f" {process.returncode}. Check that this machine can install packages:"
            " `apt-get update`."
        )


def root_of_own_namespaces() -> list[str]:
    """Return the words before a command by which it runs as root of namespaces of its own.

    The command and its descendants end with the thread that starts it.

    Raises:
        BootstrapError: this user cannot have a user namespace.
    """
    namespaces = ["--mount", "--pid"]
    if os.geteuid() != 0:
        _require_ids()
        # The user is root there, and other users are ids of a range that is the user's own.
        namespaces += ["--user", "--map-root-user", "--map-auto"]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--fork", "--kill-child"]


def _require_ids() -> None:
    """Check that this user, who is not root, may have a user namespace with several ids.

    Raises:
        BootstrapError: It may not; the message has the command for that.
    """
    if shutil.which("newuidmap", path=environment()["PATH"]) is None:
        raise BootstrapError(
            "a user other than root needs 'newuidmap' to make a root file system, and it is not"
            " installed; on Debian and Ubuntu: `apt-get install -y --no-install-recommends uidmap`"
        )
    user = getpass.getuser()
    for file in _ID_FILES:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if not any(line.partition(":")[0] in (user, str(os.getuid())) for line in lines):
            raise BootstrapError(
                f"user '{user}' has no range of ids in '{file}', which a root file system needs"
                f" for its users. As root: `usermod --add-subuids {_IDS} --add-subgids {_IDS}"
                f" {user}`, with ids that no other user has"
            )
