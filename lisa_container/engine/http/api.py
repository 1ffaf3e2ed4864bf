"""The Docker SDK's clients over the streams of a `Dialer`."""

from __future__ import annotations

import contextlib
import http.client
import io
import urllib.parse
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import docker
import docker.constants
import requests
import urllib3.exceptions
from docker.utils.socket import consume_socket_output, demux_adaptor

from lisa_container.engine.dial import Dialer
from lisa_container.engine.http.adapter import EngineAdapter
from lisa_container.engine.http.frames import FrameSplitter, read_frames
from lisa_container.engine.http.hijack import as_real_socket, hijack
from lisa_container.engine.logs import hide_log_lines
from lisa_container.engine.sockets import EngineFile
from lisa_container.parsing import parse_int

# API version used before one is negotiated; every supported engine knows it (Docker 20.10 has 1.41,
# podman 3 has 1.40). https://docs.docker.com/engine/api/#api-version-matrix
FIRST_API = "1.40"
REQUEST_TIMEOUT = 120.0
# Version of podman's own API; every podman since 4 knows it.
_LIBPOD = "v4.0.0"

# Bytes of an image's archive to read at once.
_SAVE_CHUNK = 256 * 1024

# Bytes of an archive of a container's files, and of its log, that are read at once.
_ARCHIVE_CHUNK = 256 * 1024
_LOG_CHUNK = 64 * 1024

# Bytes of the reason why the engine refused a request.
_LONGEST_REFUSAL = 64 * 1024

# What a tar ends with: two empty blocks.
_TAR_END = bytes(1024)

# Methods of requests that change nothing, so they may be sent twice.
_REPEATABLE = {"GET", "HEAD"}


class EngineAPI(docker.APIClient):  # type: ignore[misc]
    """`docker.APIClient` whose streams come from a `Dialer` instead of an address.

    Args:
        dialer: opens streams to the engine.
        timeout: seconds to wait for an answer of the engine.

    Raises:
        EngineError: the engine does not answer.
    """

    def __init__(self, dialer: Dialer, timeout: float = REQUEST_TIMEOUT) -> None:
        """Connect and negotiate the API version."""
        # The SDK never dials this address, since the adapter below replaces its own. With a
        # version given, it does not contact the engine yet.
        super().__init__(base_url="unix:///lisa_container", version=FIRST_API, timeout=timeout)
        self._custom_adapter = EngineAdapter(dialer, timeout)
        self.mount("http+docker://", self._custom_adapter)
        # The runner's proxy settings are for its own network, not the node's.
        self.trust_env = False
        self._version = self._negotiate()

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request; repeat one that only reads, once, if its connection broke.

        LISA closes a node's connection after each case, and an engine may have been restarted, so a
        request may use a connection that has just ended. A request that changes something is never
        repeated, since it may have reached the engine.
        """
        try:
            return super().send(request, **kwargs)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            if request.method not in _REPEATABLE or is_timeout(error):
                raise
            return super().send(request, **kwargs)

    def attach_socket(self, *args: Any, **kwargs: Any) -> Any:
        """Attach like the SDK, but return a real socket even if the stream is an SSH channel."""
        return as_real_socket(super().attach_socket(*args, **kwargs))

    def attach_stream(self, container: str) -> EngineFile:
        """Open the raw, framed stream of the output of a container's first process.

        Attach before the start of the container to get all of its output with any log driver.

        Args:
            container: name or id.
        """
        params = {"stdout": 1, "stderr": 1, "stream": 1}
        return super().attach_socket(container, params)  # type: ignore[no-any-return]

    def exec_start(self, *args: Any, **kwargs: Any) -> Any:
        """Start an exec like the SDK; with `socket=True` return a real socket for a channel too."""
        result = super().exec_start(*args, **kwargs)
        return as_real_socket(result) if isinstance(result, EngineFile) else result

    def exec_stream(self, exec_id: str, tty: bool = False) -> EngineFile:
        """Start an exec; return the raw stream of its stdin and output.

        Args:
            exec_id: from `exec_create`.
            tty: whether the exec has a terminal. Then its output has no frames.
        """
        return super().exec_start(exec_id, socket=True, tty=tty)  # type: ignore[no-any-return]

    def start_within(self, container: str, seconds: float) -> bool:
        """Start a container; return whether the engine started it in time.

        The SDK's `start` has no time limit.

        Args:
            container: name or id.
            seconds: time limit.
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
        """Ask the engine to remove a container, running or not, without waiting for the result.

        Args:
            container: its id. Remove it again later to learn whether it is gone.
        """
        url = self._url("/containers/{0}?v=1&force=1", container)
        path = url[len(self.base_url) :]
        stream = self._custom_adapter.dial()
        try:
            stream.sendall(f"DELETE {path} HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
            # One connection keeps the order, so after this answer the request has arrived.
            self.ping()
        finally:
            stream.close()

    def pull_progress(
        self, repository: str, tag: str, header: bytes | None, timeout: float, platform: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Pull an image; yield the engine's progress messages. The SDK's `pull` has no timeout.

        Closing the iterator ends the pull.

        Args:
            repository: name without tag.
            tag: tag or digest.
            header: the encoded credential for the registry, if it needs one.
            timeout: longest silence of the engine, in seconds.
            platform: `os/architecture[/variant]`; the engine's own by default.
        """
        params = {"fromImage": repository, "tag": tag}
        if platform:
            params["platform"] = platform
        return self._progress(self._url("/images/create"), params, header, timeout)

    def pull_insecurely(
        self, reference: str, header: bytes | None, timeout: float, platform: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Pull an image like `pull_progress` by podman's own API, from a registry without TLS.

        With podman's Docker API such a registry would need a file on the node.

        Args:
            reference: name with tag or digest.
            header: see `pull_progress`.
            timeout: see `pull_progress`.
            platform: see `pull_progress`.
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
        """Push an image; yield the engine's progress messages. The SDK's `push` has no timeout.

        Args:
            repository: name without tag.
            tag: the image's tag.
            header: the encoded credential for the registry, if it needs one.
            timeout: longest silence of the engine, in seconds.
            insecure: let podman use a registry without TLS. Docker has no such option.
        """
        url = self._url("/images/{0}/push", repository)
        # Without this header an engine parses the body, which is empty, and refuses.
        params = {"tag": tag, **({"tlsVerify": "false"} if insecure else {})}
        return self._progress(url, params, header or b"e30=", timeout)

    def load_progress(self, chunks: Iterator[bytes], timeout: float) -> Iterator[dict[str, Any]]:
        """Load an image; yield the engine's progress messages. The SDK has no timeout for this.

        Args:
            chunks: the archive, sent as it comes.
            timeout: longest silence of the engine, in seconds.
        """
        url = self._url("/images/load")
        response = self._post(url, data=chunks, params={"quiet": 0}, stream=True, timeout=timeout)
        self._raise_for_status(response)
        yield from self._stream_helper(response, decode=True)

    def build_progress(
        self, context: Iterator[bytes], parameters: Mapping[str, Any], timeout: float
    ) -> Iterator[dict[str, Any]]:
        """Build an image; yield the engine's progress messages.

        The SDK's `build` reads the context from a file and sends all credentials stored on this
        machine.

        Args:
            context: a tar, sent as it comes.
            parameters: query parameters of the API's build request.
            timeout: longest silence of the engine, in seconds.
        """
        # urllib3 logs a request's address, which here includes the build arguments.
        with hide_log_lines("urllib3.connectionpool", "/build?"):
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
            response.close()  # the engine ends a build whose client is gone

    def save_chunks(self, image: str, timeout: float) -> Iterator[bytes]:
        """Yield an image's archive in pieces. The SDK's `get_image` has no timeout.

        Args:
            image: its name.
            timeout: longest silence of the engine, in seconds.
        """
        url = self._url("/images/{0}/get", image)
        response = self._get(url, stream=True, timeout=timeout)
        self._raise_for_status(response)
        yield from response.iter_content(_SAVE_CHUNK)

    def log_pieces(self, container: str, tail: int | None = None) -> Iterator[bytes]:
        """Read the output of a container's first process, a piece at a time.

        The SDK's `logs` holds all of it in memory, or reads that of a terminal byte by byte.

        Args:
            container: name or id.
            tail: number of lines at the end; None: all.
        """
        parameters = {"stdout": 1, "stderr": 1, "tail": "all" if tail is None else tail}
        is_framed = not self._check_is_tty(container)
        url = self._url("/containers/{0}/logs", container)
        with contextlib.closing(self._get(url, params=parameters, stream=True)) as answer:
            self._raise_for_status(answer)
            splitter = FrameSplitter()
            for piece in answer.iter_content(_LOG_CHUNK):
                if is_framed:
                    for _, data in splitter.feed(piece):
                        yield data
                else:
                    yield piece

    def archive_chunks(self, container: str, path: bytes) -> Generator[bytes, None, None]:
        """Read the archive of a file or folder of a container, a piece at a time.

        The request has a stream of its own and is of HTTP/1.0, so that the answer comes without the
        frames of HTTP/1.1 (one for each 32 KiB) and is passed on as it was received.

        Args:
            container: name or id.
            path: absolute, as bytes, because the name of a file need not be UTF-8.

        Raises:
            docker.errors.APIError: the engine refused.
            ConnectionError: the answer ended before the archive did.
        """
        url = self._url("/containers/{0}/archive", container)[len(self.base_url) :]
        stream = self._custom_adapter.dial()
        try:
            stream.settimeout(self.timeout)
            query = urllib.parse.urlencode({"path": path})
            stream.sendall(f"GET {url}?{query} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
            answer = http.client.HTTPResponse(stream)  # type: ignore[arg-type]  # as a socket
            with contextlib.closing(answer):
                try:
                    answer.begin()
                except http.client.HTTPException as error:
                    raise ConnectionError(f"it does not speak HTTP: {error}") from error
                if answer.status != http.client.OK:
                    self._raise_for_status(_refusal(answer))
                raw = hijack(answer.fp)
                end = piece = b""
                while True:
                    end = (end + piece)[-len(_TAR_END) :] if len(piece) < len(_TAR_END) else piece
                    piece = raw.read_some(_ARCHIVE_CHUNK)
                    if not piece:
                        break
                    yield piece
                if not end.endswith(_TAR_END):
                    raise ConnectionError("its answer ended before the archive did")
        finally:
            stream.close()

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
        """Return the newest API version that both the engine and this SDK know."""
        answer = self._get(self._url("/_ping", versioned_api=False))
        offered: str = (
            answer.headers.get("Api-Version") or self.version(api_version=False)["ApiVersion"]
        )
        known: str = docker.constants.DEFAULT_DOCKER_API_VERSION
        return min(offered, known, key=lambda x: [parse_int(part) or 0 for part in x.split(".")])

    def _get_raw_response_socket(self, response: Any) -> EngineFile:
        self._raise_for_status(response)
        reader: io.BufferedReader = response.raw._fp.fp
        raw = hijack(reader)
        raw._response = response  # type: ignore[attr-defined]  # collected, it would close the stream
        return raw

    def _read_from_socket(
        self, response: Any, stream: bool, tty: bool = True, demux: bool = False
    ) -> Any:
        # The SDK's method waits on the descriptor. It would miss bytes that came with the headers,
        # and a channel's descriptor carries no data.
        output = _output(self._get_raw_response_socket(response), response, tty, demux)
        return output if stream else consume_socket_output(output, demux=demux)


class EngineClient(docker.DockerClient):  # type: ignore[misc]
    """`docker.DockerClient` on an existing API client."""

    def __init__(self, api: EngineAPI) -> None:
        """Use `api` for all requests."""
        self.api = api


def _refusal(answer: http.client.HTTPResponse) -> requests.Response:
    """Return an answer of the engine as the SDK reads its errors."""
    response = requests.Response()
    response.status_code, response.reason = answer.status, answer.reason
    response.raw = io.BytesIO(answer.read(_LONGEST_REFUSAL))
    return response


def _output(raw: EngineFile, response: Any, tty: bool, demux: bool) -> Iterator[Any]:
    raw._sock.settimeout(None)
    try:
        for stream, data in read_frames(raw, tty):
            yield demux_adaptor(stream, data) if demux else data
    finally:
        response.close()


def is_timeout(error: Exception) -> bool:
    """Return whether a request failed because of its time limit.

    If the engine had begun to answer, `requests` reports a broken connection instead.
    """
    reason = error.args[0] if error.args else None
    return isinstance(error, (requests.Timeout, urllib3.exceptions.ReadTimeoutError)) or isinstance(
        reason, urllib3.exceptions.ReadTimeoutError
    )
