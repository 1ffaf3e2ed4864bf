"""The examples of docs/microvm.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lisa import schema
from lisa.util import constants

from lisa_container.microvm import DiskImageConfig
from lisa_container.platforms.microvm.configs import node_schema, vm_config
from tests.support.docs_examples import DOCS, examples, run_page

PAGE = DOCS / "microvm.md"


@pytest.mark.usefixtures("image")
def test_page() -> None:
    run_page(PAGE)


def test_runbooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "RUNBOOK_PATH", tmp_path, raising=False)
    (tmp_path / "image.qcow2").touch()
    (tmp_path / "user-data.yml").write_text("packages: []\n")
    images = []
    for example in examples(PAGE):
        if example.language == "yaml":
            raw = yaml.safe_load(example.text)["platform"][0]
            raw.pop("admin_private_key_file", None)
            platform = schema.load_by_type(schema.Platform, raw)
            node = schema.load_by_type(schema.NodeSpace, raw.get("requirement", {}))
            images.append(vm_config(platform, node_schema(node), "node0", 2, 512).image)
    assert isinstance(images[1], DiskImageConfig)
    assert len(images) == 3
