"""The files of a node's users, and of this machine's, in which credentials are stored.

They are read, and credential helpers are run, past LISA's `execute`: nothing of it is in a log, on
a command line or in a file.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator

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
_LOOK = """
for file in %s; do
    [ -f "$file" ] && [ -r "$file" ] || continue
    base64 <"$file" | tr -d '\\n'
    printf ' %%s\\n' "$file"
done
"""
# sudo may leave the user's own.
_AS_ROOT = '[ "$(id -u)" = 0 ] && HOME=~root; export HOME; '


class Source:
    """The credentials of one user of a machine.

    Args:
        shell: of that user.
        whose: what to call him in a message, such as "node 'a'".
        kind: of the engine, whose own files count first: `docker` or `podman`.
    """

    def __init__(self, shell: NodeShell, whose: str, kind: str) -> None:
        self._shell = shell
        self._whose = whose
        self._kind = kind

    def find(self, repository: str) -> Credential | None:
        """The credential for an image.

        Args:
            repository: full name without tag.

        Raises:
            SshLostError, EngineError: the machine does not tell.
        """
        for config in self._configs():
            found = config.find(repository, self._ask)
            if found is not None:
                return found
        return None

    def _configs(self) -> Iterator[DockerConfig]:
        files = [_DOCKER, _PODMAN] if self._kind == "docker" else [_PODMAN, _DOCKER]
        said = self._shell.run(_AS_ROOT + _LOOK % " ".join(files))
        for line in said.splitlines():
            data, _, path = line.partition(" ")
            text = base64.b64decode(data).decode(errors="replace")
            config = DockerConfig.parse(text, f"'{path}' of {self._whose}")
            if config is not None:
                yield config

    def _ask(self, helper: str, server: str) -> str:
        program = shlex.quote(f"docker-credential-{helper}")
        return self._shell.run(f"{_AS_ROOT}{program} get 2>/dev/null", server.encode())


def sources_of(engine: Engine) -> list[Source]:
    """Where to look for credentials, in this order.

    The user as whom LISA is logged in to the node; root there, where the engine is reached as root,
    as `sudo docker` would; the user of this machine.

    Args:
        engine: of the node.
    """
    user, whose = shell_of(engine, as_root=False), f"node '{engine.name}'"
    sources = [Source(user, whose, engine.kind)]
    if engine.dialer.as_root:
        sources.append(Source(shell_of(engine), f"root on {whose}", engine.kind))
    if engine.node.is_remote:
        sources.append(Source(runner_shell(), "this machine", engine.kind))
    return sources


def find_stored(engine: Engine, repository: str) -> Credential | None:
    """The first credential that is stored for an image.

    Args:
        engine: of the node.
        repository: full name without tag.

    Raises:
        SshLostError: the node cannot be reached.
    """
    for source in sources_of(engine):
        try:
            found = source.find(repository)
        except SshLostError:
            raise
        except EngineError as error:
            engine.node.log.debug(f"no stored credentials are looked for: {error}")
            continue
        if found is not None:
            return found
    return None
