"""A node's cgroups on a machine that has only version 2; version 1 is in test_sandbox_node.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.nested import on_own_machine

# Its controllers are those that no other hierarchy of the machine under test has taken; maybe none.
ONLY_VERSION_2 = 'umount -l "$root/sys/fs/cgroup"; mount -t cgroup2 none "$root/sys/fs/cgroup";'


# Alone: nodes of other tests are handed controllers of this machine, too.
@pytest.mark.alone
def test_version_2(tmp_path: Path) -> None:
    found = on_own_machine(tmp_path, "cgroup2_script.py", setup=ONLY_VERSION_2)
    assert found["node"] == "0::/init"
    assert found["container"] == "0::/"
    assert found["engine"] == "2"
    assert found["controllers"] == found["handed"] == found["machine"]
    assert not found["left"]
    assert found["handed after"] == found["handed before"]
