"""The Docker SDK's low-level client, on any stream we can open to an engine."""

from __future__ import annotations

import io
import queue
from typing import Any

import docker
import urllib3
import urllib3.connection
import urllib3.connectionpool
from docker.transport.basehttpadapter import BaseHTTPAdapter

from lisa_container.engine.dial import Dialer
from lisa_container.engine.sockets import EngineFile, as_real_socket, hijack

# The version spoken before one is agreed on; every engine we support knows it (Docker 20.10 has
# 1.41, podman 3 has 1.40). https://docs.docker.com/engine/api/#api-version-matrix
FIRST_API = "1.40"
REQUEST_TIMEOUT = 120.0


class EngineAPI(docker.APIClient):  # type: ignore[misc]
    """`docker.APIClient` whose streams come from a `Dialer` instead of an address.

    Args:
        dialer: the way to the engine.
        timeout: seconds to wait for an answer of the engine.

    Raises:
        EngineError: the engine does not answer.
    """

    def __init__(self, dialer: Dialer, timeout: float = REQUEST_TIMEOUT) -> None:
        # The address is never dialled: the adapter below replaces the one made for it. With a
        # version given, the SDK asks the engine for nothing yet.
        super().__init__(base_url="unix:///lisa_container", version=FIRST_API, timeout=timeout)
        self._custom_adapter = _Adapter(dialer, timeout)
        self.mount("http+docker://", self._custom_adapter)
        # The runner's own proxy settings concern its network, not the node's.
        self.trust_env = False
        self._version = self._negotiate()

    def _negotiate(self) -> str:
        """The newest API version that both the engine and this SDK know."""
        answer = self._get(self._url("/_ping", versioned_api=False))
        offered: str = (
            answer.headers.get("Api-Version") or self.version(api_version=False)["ApiVersion"]
        )
        known: str = docker.constants.DEFAULT_DOCKER_API_VERSION
        return min(offered, known, key=lambda x: [int(part) for part in x.split(".")])

    def _get_raw_response_socket(self, response: Any) -> EngineFile:
        self._raise_for_status(response)
        reader: io.BufferedReader = response.raw._fp.fp
        raw = hijack(reader)
        raw._response = response  # type: ignore[attr-defined]  # collected, it would close the stream
        return raw

    def attach_socket(self, *args: Any, **kwargs: Any) -> Any:
        """As the SDK's, with a real socket also where the stream is an SSH channel."""
        return as_real_socket(super().attach_socket(*args, **kwargs))

    def exec_start(self, *args: Any, **kwargs: Any) -> Any:
        """As the SDK's, with a real socket (`socket=True`) also where the stream is a channel."""
        result = super().exec_start(*args, **kwargs)
        return as_real_socket(result) if isinstance(result, EngineFile) else result

    def exec_stream(self, exec_id: str) -> EngineFile:
        """Start an exec and give the raw stream of its stdin and framed output.

        Args:
            exec_id: from `exec_create`.
        """
        return super().exec_start(exec_id, socket=True)  # type: ignore[no-any-return]


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, dialer: Dialer, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._dialer = dialer

    def connect(self) -> None:
        stream = self._dialer.dial()
        stream.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        self.sock = stream


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, dialer: Dialer, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=dialer.pool_size)
        self._dialer = dialer
        self._seconds = timeout

    def _new_conn(self) -> Any:
        return _Connection(self._dialer, self._seconds)

    def _get_conn(self, timeout: float | None = None) -> Any:
        # urllib3 asks the descriptor of an idle connection whether it was closed; for a channel
        # that would make a pipe each time. A channel knows by itself.
        assert self.pool is not None
        while True:
            try:
                connection: Any = self.pool.get(block=False)
            except queue.Empty:
                connection = None
            if connection is None:
                return self._new_conn()
            if connection.sock is None or connection.sock.is_idle():
                return connection
            connection.close()


class _Adapter(BaseHTTPAdapter):  # type: ignore[misc]
    def __init__(self, dialer: Dialer, timeout: float) -> None:
        self._pool = _Pool(dialer, timeout)
        super().__init__()

    def get_connection(self, url: Any, proxies: Any = None) -> _Pool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return str(request.path_url)

    def close(self) -> None:
        self._pool.close()
        super().close()
