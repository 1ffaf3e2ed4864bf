"""Cases of LISA's stock suites have equal results in a container and on its node."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lisa.node import Node
from lisa.operating_system import Debian
from lisa.testsuite import get_suites_metadata
from lisa.util import SkippedException
from lisa.util.logger import get_logger

from lisa_container import ContainerExecutor, ContainerNode, ContainerTestConfig
from lisa_container.platforms.sandbox import SandboxNode

pytestmark = pytest.mark.own_node

# Modules of suites, and their cases that need neither another node nor a download but by apt, and
# that change no kernel. Most pass, or are skipped after a look at the machine; some fail.
CASES = {
    "acc.cvm": "verify_isolation_config",
    "bpf.bpf_support": "verify_btf_sysfs_exists",
    "cdrom.cdrom": "verify_cdrom_device_status_code",
    "core.dhcp": "verify_dhcp_client_timeout",
    "core.floppy": "verify_floppy_module_is_blacklisted",
    "core.timesync": "verify_pmu_disabled_for_arm64",
    "mdatp.mdatp": "verify_mdatp_not_preinstalled",
    "network.congestion_control": "verify_bbr3_available verify_bbr3_kernel_config_runtime_consistency",
    "network.inet_diag": "verify_inet_diag_destroy verify_inet_diag_enabled",
    "network.lwtunnel": "verify_lwtunnel_bpf_support",
    "network.xfrm": "verify_xfrm_interface verify_xfrm_interface_load_unload",
    "packages.curl_test": "verify_download_to_named_file verify_resume_partial_download"
    " verify_retry_transient_http_response verify_submit_multipart_form verify_upload_local_file",
    "sanity.sanitytest": "verify_vm_not_compromised",
    "security.openssl": "verify_openssl_basic",
    "storage.dmcache": "verify_dm_cache_setup",
}
# Suites for Azure Linux alone, which run on Debian, too.
FOR_AZURE_LINUX = ("bpf.bpf_support", "packages.curl_test")


@pytest.fixture(scope="module")
def inside(node: Node, machine: SandboxNode) -> Iterator[ContainerNode]:
    """Yield a privileged container with the programs of its node."""
    # As on Azure Linux: with dash, the suites' own `echo` writes other files.
    machine.run("ln -sf bash /bin/sh")
    config = ContainerTestConfig(image="lisa_container/root", privileged=True)
    with ContainerExecutor(node, config) as container:
        container.run("pwconv", expected_exit_code=0)  # the image leaves passwords out
        yield container.node


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Any]]:
    """Yield the metadata of the cases by their names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CASES:
            module = importlib.import_module(f"lisa.microsoft.testsuites.{name}")
            if name in FOR_AZURE_LINUX:
                patch.setattr(module, "CBLMariner", Debian)
        names = " ".join(CASES.values()).split()
        found = {
            case.name: case
            for suite in get_suites_metadata().values()
            for case in suite.cases
            if case.name in names
        }
        assert [*found] and {*found} == {*names}
        yield found


def ends(node: Node, cases: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Run cases on a node; return the status and message of each.

    Args:
        node: A machine or a container.
        cases: Metadata of the cases.
    """
    result = {}
    for name, case in cases.items():
        suite = case.suite.test_class(case.suite)
        arguments = {"node": node, "log": get_logger(name)}
        method = getattr(suite, name)
        wanted = inspect.signature(method).parameters
        status, message = "passed", ""
        try:
            suite.before_case(**arguments)
            method(**{key: value for key, value in arguments.items() if key in wanted})
        except SkippedException as skipped:
            status, message = "skipped", str(skipped)
        except Exception as error:
            status, message = "failed", f"{type(error).__name__}: {error}"
        finally:
            suite.after_case(**arguments)
        result[name] = (status, re.sub(rf"\b{node.name}\b", "<node>", message))
    return result


def test_stock_suites(node: Node, inside: ContainerNode, cases: dict[str, Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        in_container = pool.submit(ends, inside, cases)
        theirs = ends(node, cases)
        ours = in_container.result()
    different = {name: (end, ours[name]) for name, end in theirs.items() if ours[name] != end}
    assert different == {}
    statuses = [status for status, _ in theirs.values()]
    assert statuses.count("passed") >= 10 and "failed" in statuses and "skipped" in statuses
