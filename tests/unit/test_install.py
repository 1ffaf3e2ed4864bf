"""Tools: legal values, managers' messages, and masking of secrets."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lisa_container.errors import ConfigError
from lisa_container.install import MANAGERS, InstalledTool, PackageSettings, Tool
from lisa_container.install.failures import Failure, classify
from lisa_container.install.managers import apk, apt, cargo, dnf, gem, go, npm, pacman, pip, zypper
from lisa_container.install.managers.base import Package, find_commands, match_version
from lisa_container.install.settings import (
    filter_apt_config,
    filter_gem_config,
    filter_npm_config,
    filter_pip_config,
)
from lisa_container.install.tool import MANAGER_NAMES
from lisa_container.install.verify import choose_command, has_version, upstream_version
from lisa_container.masking import MaskedFile, Masking, secrets_in

DIGEST = "a" * 64


def test_every_manager_can_be_named() -> None:
    assert tuple(MANAGERS) == MANAGER_NAMES


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name: given ''"),
        ({"name": "--purge"}, "name: given '--purge'"),
        ({"name": "a b"}, "name: given 'a b'"),
        ({"name": "x", "version": 1.6}, "version: given 1.6.*in quotes"),
        ({"name": "x", "version": "1;reboot"}, "version"),
        ({"name": "x", "via": "aptt"}, "did you mean 'apt'"),
        ({"name": "x", "command": "/bin/x"}, "command"),
        ({"name": "x", "expect": "("}, "a regular expression"),
        ({"name": "x", "packages": "gcc"}, "a list of names"),
        ({"name": "x", "packages": ["-y"]}, "packages: given '-y'"),
        ({"name": "x", "verify": [1]}, "verify"),
        ({"name": "x", "via": "release"}, "with a url or file"),
        ({"name": "x", "via": "apt", "file": "/x"}, "with a url or file"),
        ({"name": "x", "url": "https://x/y"}, "checksum: none given"),
        ({"name": "x", "url": "ftp://me:pa55@x/y", "checksum": DIGEST}, "url: it does not begin"),
        ({"name": "x", "url": "https://x/y", "file": "/x", "checksum": DIGEST}, "url and file"),
        ({"name": "x", "file": "/x", "checksum": "abc"}, "64 hex digits"),
        ({"name": "x", "checksum": DIGEST}, "legal only with a url or a file"),
    ],
)
def test_a_wrong_tool(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as e:
        Tool(**fields)
    assert "pa55" not in str(e.value)


def test_a_tool_from_yaml() -> None:
    assert Tool.of("jq") == Tool("jq")
    given = {"name": "yq", "via": "pip", "version": None, "verify": ["yq", "--help"]}
    assert Tool.of(given) == Tool("yq", via="pip", verify=("yq", "--help"))
    for wrong in (7, {}, {"via": "pip"}):
        with pytest.raises(ConfigError, match="a name, or a mapping"):
            Tool.of(wrong)  # type: ignore[arg-type]


def test_to_json_and_back() -> None:
    tool = Tool("yq", version="3", via="pip", verify=["yq", "--help"], packages=["gcc"])
    assert Tool.from_json(tool.to_json()) == tool
    record = InstalledTool("yq", "3.2.1", "pip", "/usr/local/bin/yq", "", "", "yq 3.2.1")
    assert InstalledTool.from_json(record.to_json()) == record


def test_a_digest() -> None:
    assert Tool("x", file="f", checksum=f"sha256:{DIGEST.upper()}").digest == ("sha256", DIGEST)
    assert Tool("x", file="f", checksum="sha512:" + 2 * DIGEST).digest == ("sha512", 2 * DIGEST)
    assert Tool("x", file="f").digest == ("", "")


# Messages of managers, from their sources and from real runs.
SAID = [
    ("apt", "E: Unable to locate package nothing", Failure.NOT_FOUND),
    ("apt", "E: Package 'x' has no installation candidate", Failure.NOT_FOUND),
    ("apt", "The following packages have unmet dependencies:\n a : Depends: b", Failure.CONFLICT),
    ("apt", "E: You don't have enough free space in /var/cache/apt/archives/.", Failure.NO_SPACE),
    (
        "apt",
        "E: Failed to fetch http://x/y.deb  404  Not Found [IP: 1.2.3.4 80]",
        Failure.UNREACHABLE,
    ),
    ("apt", "Temporary failure resolving 'deb.example.org'", Failure.UNREACHABLE),
    ("apt", "E: Failed to fetch http://x/ 503  Service Unavailable", Failure.UNREACHABLE),
    ("apt", "E: Failed to fetch http://x/ 401  Unauthorized", Failure.UNAUTHORIZED),
    ("apt", "E: The repository 'http://x y Release' is not signed.", Failure.UNTRUSTED),
    ("apt", "E: Could not get lock /var/lib/dpkg/lock-frontend", Failure.UNREACHABLE),
    ("apt", "dpkg: error: trying to overwrite '/usr/bin/x', which is in a", Failure.CONFLICT),
    ("dnf", "No match for argument: nothing\nError: Unable to find a match", Failure.NOT_FOUND),
    ("dnf", "Error: \n Problem: conflicting requests\n - nothing provides b", Failure.CONFLICT),
    ("dnf", "At least 12MB more space needed on the / filesystem.", Failure.NO_SPACE),
    ("dnf", "Curl error (6): Couldn't resolve host name for http://x", Failure.UNREACHABLE),
    ("dnf", "Error: GPG check FAILED\nPackage x is not signed", Failure.UNTRUSTED),
    (
        "tdnf",
        "nothing package not found or not installed\nError(1011) : No matching packages",
        Failure.NOT_FOUND,
    ),
    ("apk", "ERROR: unable to select packages:\n  nothing (no such package):", Failure.NOT_FOUND),
    (
        "apk",
        "ERROR: unable to select packages:\n  jq-1.7-r0:\n    breaks: world[jq=9]",
        Failure.NOT_FOUND,
    ),
    (
        "apk",
        "fetch http://x\nWARNING: fetching http://x: temporary error (try again later)",
        Failure.UNREACHABLE,
    ),
    (
        "zypper",
        "'nothing' not found in package names. Trying capabilities.\nNo provider of 'nothing' found.",
        Failure.NOT_FOUND,
    ),
    ("pacman", "error: target not found: nothing", Failure.NOT_FOUND),
    ("pacman", "error: failed to commit transaction (conflicting files)", Failure.CONFLICT),
    ("pacman", "error: failed retrieving file 'core.db' from x", Failure.UNREACHABLE),
    ("pip", "ERROR: No matching distribution found for nothing", Failure.NOT_FOUND),
    (
        "pip",
        "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for x",
        Failure.UNREACHABLE,
    ),
    (
        "pip",
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]\nNo matching distribution found",
        Failure.UNTRUSTED,
    ),
    ("pip", "ERROR: ResolutionImpossible: for help visit", Failure.CONFLICT),
    (
        "pip",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        Failure.NO_SPACE,
    ),
    ("npm", "npm ERR! code E404\nnpm ERR! 404 Not Found - GET http://x", Failure.NOT_FOUND),
    (
        "npm",
        "npm ERR! code ETARGET\nnpm ERR! notarget No matching version found",
        Failure.NOT_FOUND,
    ),
    ("npm", "npm ERR! code ERESOLVE", Failure.CONFLICT),
    ("npm", "npm ERR! code EAI_AGAIN", Failure.UNREACHABLE),
    ("npm", "npm ERR! code ENOSPC", Failure.NO_SPACE),
    ("npm", "npm ERR! code E401", Failure.UNAUTHORIZED),
    (
        "cargo",
        "error: could not find `nothing` in registry `crates-io` with version `*`",
        Failure.NOT_FOUND,
    ),
    (
        "cargo",
        "error: failed to download from `https://x`\n[6] Could not resolve host",
        Failure.UNREACHABLE,
    ),
    (
        "gem",
        "ERROR:  Could not find a valid gem 'nothing' (>= 0) in any repository",
        Failure.NOT_FOUND,
    ),
    (
        "gem",
        "ERROR:  While executing gem ... (Gem::RemoteFetcher::FetchError)\n    SocketError: Failed to open TCP connection",
        Failure.UNREACHABLE,
    ),
    ("go", "go: example.org/x@v9: reading file:///x: no matching versions", Failure.NOT_FOUND),
    ("go", 'go: module x: Get "https://p/": dial tcp: lookup p: no such host', Failure.UNREACHABLE),
    ("go", 'Get "https://p/": x509: certificate signed by unknown authority', Failure.UNTRUSTED),
    ("apt", "E: Sub-process /usr/bin/dpkg returned an error code (1)", Failure.OTHER),
]


@pytest.mark.parametrize(("manager", "said", "failure"), SAID)
def test_failures(manager: str, said: str, failure: Failure) -> None:
    assert classify(said, MANAGERS[manager].phrases) is failure


def test_versions_that_match() -> None:
    assert match_version("1.6", ["1.60-1", "1.6-2.1", "1.6-2.0"]) == "1.6-2.1"
    assert match_version("1.6-2.0", ["1.6-2.1", "1.6-2.0"]) == "1.6-2.0"
    assert match_version("2.39", ["1:2.39.5-0"]) == "1:2.39.5-0"
    assert match_version("1.6", ["1.60", "1.6rc1", "11.6"]) == ""
    assert match_version("1.6", []) == ""


def test_versions_as_programs_know_them() -> None:
    assert upstream_version("1:1.6-2.1+deb12u1") == "1.6"
    assert upstream_version("9.2.0~ds1-1") == "9.2.0"
    assert upstream_version("1.7.1-r0") == "1.7.1"
    assert upstream_version("3.0.0-rc1") == "3.0.0-rc1"
    assert has_version("jq-1.6", "1.6-2.1+deb12u3")
    assert has_version("v1.6.", "1.6")
    assert not has_version("jq-1.60", "1.6")
    assert not has_version("jq-11.6", "1.6")


@pytest.mark.parametrize(
    ("name", "commands", "command"),
    [
        ("jq", ["jq"], "jq"),
        ("ripgrep", ["rg"], "rg"),
        ("iputils-ping", ["ping", "ping4", "ping6"], "ping"),
        ("xz-utils", ["lzma", "xz", "xzcat"], "xz"),
        ("python3-venv", ["python3"], "python3"),
        ("@scope/tool", ["other", "tool"], "tool"),
        ("example.org/cmd/tool/v2", ["more", "tool"], "tool"),
        ("node_exporter", ["exporter", "x"], "exporter"),
        ("coreutils", ["ls", "cat"], ""),
        ("library", [], ""),
    ],
)
def test_command_of_a_package(name: str, commands: list[str], command: str) -> None:
    package = Package("1", tuple(f"/usr/bin/{each}" for each in commands))
    assert choose_command(Tool(name), package) == command


def test_commands_of_a_package() -> None:
    listed = "/.\n/usr/bin/rg\nusr/sbin/x\n/usr/share/bin.txt\n/usr/bin\n/usr/bin/rg\n"
    assert find_commands(listed) == ("/usr/bin/rg", "/usr/sbin/x")


def test_apt_listings() -> None:
    madison = "    jq | 1.6-2 | http://x bookworm/main amd64 Packages\n    jq | 1.6-2 | http://x bookworm/main Sources\n    jq | 1.5-1 | http://x y/main amd64 Packages\n"
    assert apt.parse_versions(madison) == ["1.6-2", "1.5-1"]
    policy = "jq:\n  Installed: 1.6-2\n  Version table:\n     1.7-1 100\n        100 http://b x/main amd64 Packages\n *** 1.6-2 500\n        500 http://a bookworm/main amd64 Packages\n        100 /var/lib/dpkg/status\n"
    assert apt.parse_origin(policy) == "http://a bookworm/main amd64 Packages"
    assert (
        apt.parse_origin(
            " *** 1 100\n        100 /var/lib/dpkg/status\n     2 1\n        1 http://b x Packages\n"
        )
        == ""
    )


def test_rpm_listings() -> None:
    listed = "Available Packages\njq.x86_64    1.6-9.fc39   updates\njq.x86_64  1.6-15.fc39  fedora\njq-devel.x86_64 9 x\n"
    assert dnf.parse_versions(listed, "jq") == ["1.6-15.fc39", "1.6-9.fc39"]
    table = "S | Name | Type    | Version | Arch   | Repository\n--+------+---------+---------+--------+-----\n  | jq   | package | 1.6-3.1 | x86_64 | repo-oss\nv | jq | package | 1.5-1 | x86_64 | old\n"
    assert zypper.parse_versions(table, "jq") == ["1.6-3.1", "1.5-1"]


def test_apk_requests_and_listings() -> None:
    assert apk.format_request(Tool("jq")) == "jq"
    assert apk.format_request(Tool("jq", version="1.7")) == "jq=~1.7"
    assert apk.format_request(Tool("jq", version="1.7.1-r0")) == "jq=1.7.1-r0"
    policy = "jq policy:\n  1.7.1-r0:\n    lib/apk/db/installed\n    http://x/v3.20/main\n  1.6-r4:\n    http://x/v3.15/main\n"
    assert apk.parse_versions(policy) == ["1.6-r4", "1.7.1-r0"]
    assert apk.parse_origin(policy, "1.7.1-r0") == "http://x/v3.20/main"
    assert apk.parse_origin(policy, "9") == ""


def test_pacman_fields() -> None:
    shown = "Repository      : extra\nName            : jq\nVersion         : 1.7-1\nDescription     : a : b\n\nRepository : other\nVersion : 2\n"
    found = pacman.parse_fields(shown)
    assert (found["Repository"], found["Version"], found["Description"]) == (
        "extra",
        "1.7-1",
        "a : b",
    )


def test_pip_report() -> None:
    report = '{"install": [{"metadata": {"name": "Foo_bar"}, "download_info": {"url": "http://x/f.whl", "archive_info": {"hash": "sha256=ab"}}}]}'
    assert pip.parse_source(report, "foo.bar") == ("http://x/f.whl", "sha256:ab")
    assert pip.parse_source(report, "other") == ("", "")
    assert pip.parse_source("", "other") == ("", "")


def test_npm_listings() -> None:
    assert npm.parse_versions('["1.0.0", "2.0.0"]') == ["2.0.0", "1.0.0"]
    assert npm.parse_versions('"1.0.0"') == ["1.0.0"]
    assert npm.parse_programs('{"bin": {"a": "x.js", "b": "y.js"}}', "p") == ["a", "b"]
    assert npm.parse_programs('{"bin": "x.js"}', "@scope/p") == ["p"]
    assert npm.parse_programs("{}", "p") == []


def test_cargo_gem_and_go_listings() -> None:
    crates = '[v1]\n"ripgrep 13.0.0 (registry+https://x/index)" = ["rg", "other"]\n'
    assert cargo.parse_installed(crates, "ripgrep") == (
        "13.0.0",
        "registry+https://x/index",
        ["rg", "other"],
    )
    assert cargo.parse_installed(crates, "rip") is None
    assert gem.parse_versions(
        "\n*** REMOTE GEMS ***\n\nrake (13.1.0, 13.0.6 ruby java)\n", "rake"
    ) == ["13.1.0", "13.0.6"]
    said = "/x/tool: go1.19.8\n\tpath\texample.org/tool\n\tmod\texample.org/tool\tv1.2.3\th1:abc=\n\tbuild\tx\n"
    assert go.parse_module(said) == ("1.2.3", "example.org/tool", "h1:abc=")
    assert go.parse_module("") == ("", "", "")


# --- settings and secrets -------------------------------------------------------------------------


def test_pip_settings() -> None:
    machine = "[global]\nindex-url = https://one/simple\nfind-links = /opt/wheels\n"
    user = "[global]\nindex-url = https://u:p@two/simple\nextra-index-url =\n    file:///x\n    https://three\n[install]\nuser = true\n[list]\nformat = columns\n"
    assert filter_pip_config([machine, user]) == (
        "[global]\nindex-url = https://u:p@two/simple\nextra-index-url = https://three\n"
    )
    assert filter_pip_config(["no ini"]) == filter_pip_config([]) == ""


def test_npm_and_gem_settings() -> None:
    text = "registry=https://r/\ncache=/x\n@s:registry=https://s/\n//r/:_authToken=tok\nyes=false\n"
    assert (
        filter_npm_config(text)
        == "registry=https://r/\n@s:registry=https://s/\n//r/:_authToken=tok\n"
    )
    assert filter_gem_config(
        ":backtrace: false\n:sources:\n- https://a/\n- https://b/\ngem: --user\n"
    ) == ("---\n:sources:\n- https://a/\n- https://b/\n")
    assert filter_gem_config(":verbose: true\n") == ""


def test_apt_settings() -> None:
    dump = 'Acquire "";\nAcquire::http::Proxy "http://p:1";\nAcquire::https::CaInfo "/x";\nDir "/";\nAcquire::http::Pipeline-Depth "0";\n'
    assert (
        filter_apt_config(dump)
        == 'Acquire::http::Proxy "http://p:1";\nAcquire::http::Pipeline-Depth "0";\n'
    )


def test_secrets_are_found() -> None:
    assert secrets_in("index-url = https://me:s%2Fcret@x/simple") == {"s%2Fcret"}
    assert secrets_in("https://a-long-token@x/ git+ssh://git@y") == {"a-long-token"}
    assert secrets_in("//r/:_authToken=tok-en\n_auth = YWJj") == {"tok-en", "YWJj"}
    assert secrets_in("machine x login me password pass-word\n") == {"pass-word"}
    assert secrets_in('[registries.x]\ntoken = "to-ken"\n') == {"to-ken"}
    settings = PackageSettings(
        {"CARGO_REGISTRIES_X_TOKEN": "cargo-token"}, {"npmrc": b"_auth=abcd"}
    )
    assert settings.secrets == {"cargo-token", "abcd"}
    assert "cargo-token" not in repr(settings) and "abcd" not in repr(settings)


def test_masking() -> None:
    mask = Masking(["s%2Fcret", "token!"]).own
    assert mask("s/cret s%2Fcret token!") == "*** *** ***"
    assert mask("http://me:unknown@x/ me@x") == "http://***@x/ me@x"
    assert Masking().own("plain") == "plain"


def test_a_secret_that_comes_in_pieces() -> None:
    out = io.BytesIO()
    file = MaskedFile(out, Masking(["secret"]))
    for piece in (b"a sec", b"ret b\nse", b"cret", b"\xff"):
        file.write(piece)
    file.flush()
    assert out.getvalue() == b"a *** b\n***\xff"
