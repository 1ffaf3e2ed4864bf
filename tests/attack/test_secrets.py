"""Search for secrets in all files of a run, and for private keys in an image of a node's root."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import as_runbook, connect_as, disconnect
from tests.support.runs import run_lisa, runbook

CASES = {
    **dict.fromkeys(("leak_assertion", "leak_cause", "leak_lines", "leak_timeout"), "failed"),
    **dict.fromkeys(("leak_update_envs", "leak_words", "leak_refused", "leak_tool"), "failed"),
    **dict.fromkeys(("leak_node", "leak_node_failed"), "failed"),
    "leak_skipped": "skipped",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("user", ["root", "sudo", "docker"])
def test_nothing_is_written(machine: SandboxNode, user: str, tmp_path: Path) -> None:
    """No file of a run has a secret: LISA's log, JUnit, HTML, messages, records, evidence."""
    book = runbook([as_runbook(machine, user)], "leak_.*")
    book["notifier"] += [{"type": "html"}]
    run = run_lisa(book, tmp_path)
    assert run.statuses() == CASES, run.output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts = {path: path.read_bytes().decode(errors="replace") for path in files}
    leaks = {
        f"{path.relative_to(tmp_path)}: {line[:300]}"
        for path, text in texts.items()
        for line in text.splitlines()
        if "hunter2" in line
    }
    assert not leaks, "\n".join(sorted(leaks))
    # Ordinary values are there, and so are the messages around the secrets.
    log = run.output
    assert "the kernel counts 1" in log and "Expected <***> to be equal to <kernel 1>" in log
    assert "Expected <***> to be" in run.cases["leak_assertion"].message
    assert "postgres://***@localhost/x" in run.cases["leak_cause"].message
    assert "MY_TOKEN=*** sleep 9" in run.cases["leak_timeout"].message
    assert "'false --password ***'" in run.cases["leak_node_failed"].message
    expected = "Expected <***> to be equal to"
    found = {path.name for path, text in texts.items() if expected in html.unescape(text)}
    assert found >= {"lisa.junit.xml", "lisa.html", "messages.log", "results.jsonl"}


KEY = (
    "-----BEGIN {}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END {}PRIVATE KEY-----\n"
)
KEYS = {
    "/etc/service/odd [name] *.conf": KEY.format("", ""),
    "/etc/service/server": "# settings, and the key\n" + KEY.format("RSA ", "RSA "),
    "/usr/local/etc/tunnel/id": KEY.format("OPENSSH ", "OPENSSH "),
    "/var/lib/service/state": KEY.format("EC ", "EC "),
    "/opt/service/key": KEY.format("ENCRYPTED ", "ENCRYPTED "),
    "/srv/service/key.asc": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQdGBGR\n",
}
NO_KEYS = ("/etc/service/odd n *.conf", "/etc/service/readme", "/etc/service/public.pem")


# A user in the docker group cannot make the image: he cannot read the node's root.
@pytest.mark.sampled(1)
@pytest.mark.parametrize("user", ["root", "sudo"])
def test_root_has_no_keys(machine: SandboxNode, user: str) -> None:
    """An image of the node's root has no private keys, wherever a service keeps them."""
    for path, text in KEYS.items():
        machine.run(f'mkdir -p "$(dirname "{path}")" && cat >"{path}"', stdin=text)
    for path in NO_KEYS:
        machine.run(f'cat >"{path}"', stdin="It may begin with -----BEGIN PRIVATE KEY-----\n")
    node = connect_as(machine, user)
    try:
        with ContainerExecutor(node, ContainerTestConfig(image="lisa_container/root")) as container:
            words = ["sh", "-c", 'for x; do [ ! -e "$x" ] || echo "$x"; done', "sh"]
            assert container.run([*words, *KEYS]).stdout == ""
            assert container.run([*words, *NO_KEYS]).stdout.splitlines() == list(NO_KEYS)
            container.engine.api.remove_image("lisa_container/root", force=True)
    finally:
        disconnect(node)
        machine.run("rm -rf /etc/service /usr/local/etc/tunnel /var/lib/service /opt/service")
