"""HTTP requests that a machine sends, by its curl."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from lisa_container.config.checks import illegal
from lisa_container.errors import RuntimeCommandError, RuntimeMachineError
from lisa_container.runtimes.machine import Machine, run_checked

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_NOT_FOUND = 127

# Each worker is one curl, which sends its requests one after the other. The output has a line for
# each request, worker by worker, an empty line, and the bodies in the order of the requests.
_SCRIPT = """\
command -v curl >/dev/null || exit 127
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" && cat >body || exit 1
worker=0
while [ "$worker" -lt {workers} ]; do
    number=$worker
    while [ "$number" -lt {count} ]; do
        printf 'url = "%s"\\noutput = "%s"\\n' {url} "out.$number"
        : >"out.$number"
        number=$((number + {workers}))
    done >"config.$worker"
    curl --silent --show-error --globoff --noproxy '*' --max-time {seconds} {options} \\
        --write-out '%{{http_code}} %{{time_total}} %{{size_download}} %{{exitcode}}\\n' \\
        --config "config.$worker" >"lines.$worker" 2>"errors.$worker" &
    worker=$((worker + 1))
done
wait
worker=0
while [ "$worker" -lt {workers} ]; do cat "lines.$worker"; worker=$((worker + 1)); done
echo
number=0
while [ "$number" -lt {count} ]; do cat "out.$number"; number=$((number + 1)); done
cat errors.* >&2
"""


@dataclass(frozen=True)
class HttpResponse:
    """Answer to an HTTP request.

    Attributes:
        status: status code, such as 200; 0 means that there was no answer, or only a part of it.
        body: body of the answer.
        seconds: seconds until its end.
        error: message of curl, if a request of the group had no answer.
    """

    status: int
    body: bytes
    seconds: float
    error: str = ""

    @property
    def text(self) -> str:
        """Body as text."""
        return self.body.decode("utf-8", "replace")

    def __str__(self) -> str:
        """Return status and body, or the failure, for messages."""
        if not self.status:
            return f"no answer ({self.error or 'curl says nothing'})"
        return f"status {self.status}, body {self.text[:200]!r}"


def send_requests(
    machine: Machine,
    url: str,
    count: int = 1,
    concurrency: int = 1,
    *,
    method: str = "GET",
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> list[HttpResponse]:
    """Send HTTP requests from a machine, and return the answers in the order of the requests.

    Args:
        machine: Machine that sends them.
        url: URL.
        count: Number of requests.
        concurrency: Number of requests that are under way at a time.
        method: Method of the requests.
        body: Body of each request.
        headers: Header fields of each request.
        timeout: Seconds until a request is given up.

    Raises:
        ConfigError: An argument is wrong.
        RuntimeMachineError: The machine has no curl.
    """
    _check(url, count, concurrency, method)
    options = ["--request", method]
    for key, value in (headers or {}).items():
        options += ["--header", f"{key}: {value}"]
    if body:
        options += ["--data-binary", "@body"]
    workers = min(count, concurrency)
    script = _SCRIPT.format(
        url=shlex.quote(url),
        count=count,
        workers=workers,
        seconds=timeout,
        options=shlex.join(options),
    )
    try:
        done = run_checked(machine, f"send requests to {url}", script, body)
    except RuntimeCommandError as error:
        if error.exit_code != _NOT_FOUND:
            raise
        raise RuntimeMachineError(
            f"'{machine.name}' has no curl, which sends the requests: install the package curl"
        ) from error
    return _parse(done.stdout_bytes, done.stderr, count, workers)


def send_request(machine: Machine, url: str, timeout: float = 10.0) -> HttpResponse:
    """Send one GET request from a machine; see `send_requests`.

    Args:
        machine: Machine that sends it.
        url: URL.
        timeout: Seconds until the request is given up.
    """
    return send_requests(machine, url, timeout=timeout)[0]


def _check(url: str, count: int, concurrency: int, method: str) -> None:
    if not url.startswith(("http://", "https://")) or any(x in url for x in '"\\\n\r'):
        raise illegal("url", url, "http://… or https://…, without quotes and backslashes")
    for name, value in (("count", count), ("concurrency", concurrency)):
        if value < 1:
            raise illegal(name, value, "a whole number of at least 1")
    if method not in _METHODS:
        raise illegal("method", method, ", ".join(_METHODS))


def _parse(output: bytes, errors: str, count: int, workers: int) -> list[HttpResponse]:
    lines, _, bodies = output.partition(b"\n\n")
    facts = [line.split() for line in lines.decode().splitlines() if line]
    # Worker 0 had the requests 0, workers, 2 * workers and so on.
    order = [number for worker in range(workers) for number in range(worker, count, workers)]
    by_number = dict(zip(order, facts))
    responses, at = [], 0
    for number in range(count):
        # A curl before 7.75 does not tell its exit code.
        status, seconds, size, *code = by_number.get(number, ["0", "0", "0"])
        is_whole = code in ([], ["0"]) and int(status) > 0
        body = bodies[at : at + int(size)]
        at += int(size)
        responses.append(
            HttpResponse(int(status), body, float(seconds))
            if is_whole
            else HttpResponse(0, body, float(seconds), errors)
        )
    return responses
