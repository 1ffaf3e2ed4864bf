"""docs/image_archives.md: its examples run."""

from __future__ import annotations

from pathlib import Path

from lisa.node import Node

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.archives import contained
from tests.support.docs_examples import DOCS, examples

PAGE = DOCS / "image_archives.md"


def test_without_a_node(tmp_path: Path) -> None:
    """The page's extraction works as `nobody`, in a process whose root is the test's folder."""
    code = [
        compile("\n" * (example.line - 1) + example.text, str(PAGE), "exec")
        for example in examples(PAGE)
        if example.name != "on_node"
    ]
    assert len(code) == 5
    tmp_path.chmod(0o777)

    def run() -> list[str]:
        names: dict[str, object] = {}
        for each in code:
            exec(each, names)
        return sorted(path.name for path in Path().iterdir())

    assert contained(tmp_path, run, has_rights=False) == ["hello.tar", "rootfs"]


def test_on_a_node(node: Node, machine: SandboxNode) -> None:
    (example,) = [x for x in examples(PAGE) if x.name == "on_node"]
    busybox = f"/proc/{machine.pid}/root/bin/busybox"
    code = compile("\n" * (example.line - 1) + example.text, str(PAGE), "exec")
    exec(code, {"node": node, "busybox": busybox})
