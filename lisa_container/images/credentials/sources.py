"""Files in which the users of a node and of this machine have stored credentials.

The files are read and credential helpers are run without LISA's `execute`, so no secret reaches a
log, a command line or a file.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator

from lisa_container.config import ImageReference
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.shell import NodeShell, runner_shell, shell_of
from lisa_container.errors import EngineError, SshLostError
from lisa_container.images.credentials.credential import Credential
from lisa_container.images.credentials.docker_config import DockerConfig

# docker(1), DOCKER_CONFIG; containers-auth.json(5). Prints each file as `<base64> <path>`.
_DOCKER = '"${DOCKER_CONFIG:-$HOME/.docker}/config.json"'
_PODMAN = (
    '"${REGISTRY_AUTH_FILE:-}" "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/containers/auth.json" '
    '"/run/containers/$(id -u)/auth.json" '
    '"${XDG_CONFIG_HOME:-$HOME/.config}/containers/auth.json"'
)
_READ = """
for file in %s; do
    [ -f "$file" ] && [ -r "$file" ] || continue
    base64 <"$file" | tr -d '\\n'
    printf ' %%s\\n' "$file"
done
"""
# sudo may keep the user's HOME.
_AS_ROOT = '[ "$(id -u)" = 0 ] && HOME=~root; export HOME; '


class Source:
    """Stored credentials of one user of a machine.

    Args:
        shell: shell of that user.
        whose: name of the user or machine for messages, such as "node 'a'".
        kind: kind of the engine, `docker` or `podman`; its own files count first.
    """

    def __init__(self, shell: NodeShell, whose: str, kind: str) -> None:
        """Read nothing yet."""
        self._shell = shell
        self._whose = whose
        self._kind = kind

    def find(self, reference: ImageReference) -> Credential | None:
        """Return the user's credential for an image.

        Raises:
            SshLostError, EngineError: the files cannot be read.
        """
        for config in self._configs():
            credential = config.find(reference, self._ask)
            if credential is not None:
                return credential
        return None

    def _configs(self) -> Iterator[DockerConfig]:
        files = [_DOCKER, _PODMAN] if self._kind == "docker" else [_PODMAN, _DOCKER]
        output = self._shell.run(_AS_ROOT + _READ % " ".join(files))
        for line in output.splitlines():
            data, _, path = line.partition(" ")
            text = base64.b64decode(data).decode(errors="replace")
            config = DockerConfig.parse(text, f"'{path}' of {self._whose}")
            if config is not None:
                yield config

    def _ask(self, helper: str, server: str) -> str:
        program = shlex.quote(f"docker-credential-{helper}")
        return self._shell.run(f"{_AS_ROOT}{program} get 2>/dev/null", server.encode())


def sources_of(engine: Engine) -> list[Source]:
    """List the users whose stored credentials count, in this order.

    First the user of LISA's connection to the node; then root on the node, if the engine is reached
    as root, as `sudo docker` would; then the user of this machine.
    """
    user, whose = shell_of(engine, as_root=False), f"node '{engine.name}'"
    sources = [Source(user, whose, engine.kind)]
    if engine.dialer.as_root:
        sources.append(Source(shell_of(engine), f"root on {whose}", engine.kind))
    if engine.node.is_remote:
        sources.append(Source(runner_shell(), "this machine", engine.kind))
    return sources


def find_stored(engine: Engine, reference: ImageReference) -> Credential | None:
    """Return the first credential that is stored for an image.

    Raises:
        SshLostError: the node cannot be reached.
    """
    for source in sources_of(engine):
        try:
            credential = source.find(reference)
        except SshLostError:
            raise
        except EngineError as error:
            engine.node.log.debug(f"stored credentials are ignored: {error}")
            continue
        if credential is not None:
            return credential
    return None
