"""The Docker SDK's clients, on any stream we can open to an engine."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import docker.constants
import requests
import urllib3.exceptions
from docker.utils.socket import consume_socket_output, demux_adaptor

from lisa_container.engine.adapter import EngineAdapter
from lisa_container.engine.dial import Dialer
from lisa_container.engine.frames import read_frames
from lisa_container.engine.hijack import as_real_socket, hijack
from lisa_container.engine.sockets import EngineFile

# The version spoken before one is agreed on; every engine we support knows it (Docker 20.10 has
# 1.41, podman 3 has 1.40). https://docs.docker.com/engine/api/#api-version-matrix
FIRST_API = "1.40"
REQUEST_TIMEOUT = 120.0
# The version of podman's own API: the first that all since podman 4 know.
_LIBPOD = "v4.0.0"

# Bytes of an image's archive that are read at once.
_SAVE_CHUNK = 256 * 1024

# Requests that change nothing: sent twice, they do no harm.
_REPEATABLE = {"GET", "HEAD"}


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
        self._custom_adapter = EngineAdapter(dialer, timeout)
        self.mount("http+docker://", self._custom_adapter)
        # The runner's own proxy settings concern its network, not the node's.
        self.trust_env = False
        self._version = self._negotiate()

    def send(self, request: Any, **kwargs: Any) -> Any:
        """As `requests.Session.send`; what only reads is sent again once if its connection broke.

        LISA closes a node's connection after each case, and an engine may have been restarted: a
        request then meets a connection that has just ended. Whether one that changes something
        has reached the engine before, nobody knows; such a one is never repeated.
        """
        try:
            return super().send(request, **kwargs)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            if request.method not in _REPEATABLE or is_timeout(error):
                raise
            return super().send(request, **kwargs)

    def attach_socket(self, *args: Any, **kwargs: Any) -> Any:
        """As the SDK's, with a real socket also where the stream is an SSH channel."""
        return as_real_socket(super().attach_socket(*args, **kwargs))

    def attach_stream(self, container: str) -> EngineFile:
        """The raw stream of what a container's first process will print, in frames.

        Args:
            container: name or id; attached before its start, nothing is missed, whatever its log
                driver.
        """
        params = {"stdout": 1, "stderr": 1, "stream": 1}
        return super().attach_socket(container, params)  # type: ignore[no-any-return]

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

    def start_within(self, container: str, seconds: float) -> bool:
        """Start a container; whether the engine did it in time. (The SDK's `start` has none.)

        Args:
            container: name or id.
            seconds: how long the engine may take.
        """
        try:
            answer = self._post(self._url("/containers/{0}/start", container), timeout=seconds)
        except requests.RequestException as error:
            if not is_timeout(error):
                raise
            return False
        self._raise_for_status(answer)
        return True

    def remove_soon(self, container: str) -> None:
        """Have the engine remove a container, running or not, without waiting for that.

        Args:
            container: its id. Whether it is gone, a later removal will tell.
        """
        url = self._url("/containers/{0}?v=1&force=1", container)
        path = url[len(self.base_url) :]
        stream = self._custom_adapter.dial()
        try:
            stream.sendall(f"DELETE {path} HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
            # What was sent first on a connection arrives first: with this answer it has arrived.
            self.ping()
        finally:
            stream.close()

    def pull_progress(
        self, repository: str, tag: str, header: bytes | None, timeout: float, platform: str = ""
    ) -> Iterator[dict[str, Any]]:
        """What the engine says while it pulls an image. The SDK's `pull` has no timeout.

        Who stops to listen ends the pull.

        Args:
            repository: name without tag.
            tag: tag or digest.
            header: the encoded credential for the registry, if it needs one.
            timeout: seconds without any word of the engine.
            platform: `os/architecture[/variant]`; the engine's own by default.
        """
        params = {"fromImage": repository, "tag": tag}
        if platform:
            params["platform"] = platform
        return self._progress(self._url("/images/create"), params, header, timeout)

    def pull_insecurely(
        self, reference: str, header: bytes | None, timeout: float, platform: str = ""
    ) -> Iterator[dict[str, Any]]:
        """As `pull_progress`, by podman's own API: also from a registry without TLS, for which its
        other API wants a file on the node.

        Args:
            reference: name with tag or digest.
            header: as for `pull_progress`.
            timeout: as for `pull_progress`.
            platform: as for `pull_progress`.
        """
        names = zip(("OS", "Arch", "Variant"), platform.split("/") if platform else ())
        params = {"reference": reference, "tlsVerify": "false", **dict(names)}
        url = f"{self.base_url}/{_LIBPOD}/libpod/images/pull"
        return self._progress(url, params, header, timeout)

    def push_progress(
        self,
        repository: str,
        tag: str,
        header: bytes | None,
        timeout: float,
        insecure: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """What the engine says while it pushes an image. The SDK's `push` has no timeout.

        Args:
            repository: name without tag.
            tag: of the image.
            header: the encoded credential for the registry, if it needs one.
            timeout: seconds without any word of the engine.
            insecure: have podman take the registry also without TLS; Docker knows no such word.
        """
        url = self._url("/images/{0}/push", repository)
        # Without any such header an engine refuses: it reads the body, which is empty.
        params = {"tag": tag, **({"tlsVerify": "false"} if insecure else {})}
        return self._progress(url, params, header or b"e30=", timeout)

    def load_progress(self, chunks: Iterator[bytes], timeout: float) -> Iterator[dict[str, Any]]:
        """What the engine says while it loads an image. The SDK's `load_image` has no timeout.

        Args:
            chunks: the archive, sent as it comes.
            timeout: seconds without any word of the engine.
        """
        url = self._url("/images/load")
        response = self._post(url, data=chunks, params={"quiet": 0}, stream=True, timeout=timeout)
        self._raise_for_status(response)
        yield from self._stream_helper(response, decode=True)

    def build_progress(
        self, context: Iterator[bytes], parameters: Mapping[str, Any], timeout: float
    ) -> Iterator[dict[str, Any]]:
        """What the engine says while it builds an image. The SDK's `build` reads the context from a
        file, and sends all credentials that this machine has stored.

        Args:
            context: a tar, sent as it comes.
            parameters: of the request, as the API has them.
            timeout: seconds without any word of the engine.
        """
        with _no_build_arguments_in_the_log():
            response = self._post(
                self._url("/build"),
                data=context,
                params=parameters,
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=timeout,
            )
        self._raise_for_status(response)
        try:
            yield from self._stream_helper(response, decode=True)
        finally:
            response.close()  # where nobody listens any more, the engine ends the build

    def save_chunks(self, image: str, timeout: float) -> Iterator[bytes]:
        """An image's archive, a piece at a time. The SDK's `get_image` has no timeout.

        Args:
            image: its name.
            timeout: seconds without any byte of the engine.
        """
        url = self._url("/images/{0}/get", image)
        response = self._get(url, stream=True, timeout=timeout)
        self._raise_for_status(response)
        yield from response.iter_content(_SAVE_CHUNK)

    def _progress(
        self, url: str, params: dict[str, str], header: bytes | None, timeout: float
    ) -> Iterator[dict[str, Any]]:
        headers = {"X-Registry-Auth": header} if header else {}
        response = self._post(url, params=params, headers=headers, stream=True, timeout=timeout)
        try:
            self._raise_for_status(response)
            yield from self._stream_helper(response, decode=True)
        finally:
            response.close()

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

    def _read_from_socket(
        self, response: Any, stream: bool, tty: bool = True, demux: bool = False
    ) -> Any:
        # The SDK's own waits on the descriptor: it would miss bytes that came with the headers, and
        # read a channel's descriptor, which has no data.
        output = _output(self._get_raw_response_socket(response), response, tty, demux)
        return output if stream else consume_socket_output(output, demux=demux)


class EngineClient(docker.DockerClient):  # type: ignore[misc]
    """`docker.DockerClient` on an API client that is there already.

    Args:
        api: of the engine.
    """

    def __init__(self, api: EngineAPI) -> None:
        self.api = api


def _output(raw: EngineFile, response: Any, tty: bool, demux: bool) -> Iterator[Any]:
    raw._sock.settimeout(None)
    try:
        for stream, data in read_frames(raw, tty):
            yield demux_adaptor(stream, data) if demux else data
    finally:
        response.close()


@contextlib.contextmanager
def _no_build_arguments_in_the_log() -> Iterator[None]:
    """urllib3 logs the address of a request, and there the API wants the arguments."""

    def is_other(record: logging.LogRecord) -> bool:
        return "/build?" not in record.getMessage()

    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def is_timeout(error: Exception) -> bool:
    """Whether a request failed because its time was up. Where the engine had begun to answer,
    `requests` calls that a broken connection."""
    reason = error.args[0] if error.args else None
    return isinstance(error, (requests.Timeout, urllib3.exceptions.ReadTimeoutError)) or isinstance(
        reason, urllib3.exceptions.ReadTimeoutError
    )
