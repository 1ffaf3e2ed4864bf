"""ContainerTestConfig: its rules, the text of its errors, and immutability."""

import copy
import dataclasses
import doctest
import pickle
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
from dataclasses_json import dataclass_json
from dataclasses_json.undefined import UndefinedParameterError
from lisa import schema
from lisa.node import GuestNode

import lisa_container.config.checks
import lisa_container.config.model
import lisa_container.config.reference

# LISA collects the types of nodes once, with the first guest that is loaded: import ours before.
import lisa_container.node
from lisa_container.config import (
    HOST_ROOT,
    LOCAL_REPOSITORY,
    ConfigFields,
    ContainerSettings,
    ContainerTestConfig,
    Init,
    PullPolicy,
    Scope,
    Ulimit,
)
from lisa_container.config.privileges import CAPABILITIES
from lisa_container.errors import ConfigError

DIGEST = "sha256:" + "0123456789abcdef" * 4

# One value for each field, none of them the default.
FULL: dict[str, Any] = {
    "image": "team/kernel:1",
    "registry": "registry.example.com:5000",
    "platform": "linux/arm64",
    "privileged": True,
    "mount_host_root": True,
    "volumes": {"/srv": "/data:ro"},
    "environment": {"MODE": "kernel"},
    "network_mode": "tests",
    "network_aliases": ["db", "web.tests"],
    "working_dir": "/data",
    "user": "1000:1000",
    "hostname": "box",
    "cap_add": ["CAP_NET_ADMIN"],
    "cap_drop": ["CAP_MKNOD"],
    "devices": ["/dev/null:/dev/null:rw"],
    "tmpfs": {"/scratch": "size=64m"},
    "ulimits": {"nofile": "1024:2048"},
    "memory": "512m",
    "cpus": 1.5,
    "pids_limit": 100,
    "read_only": True,
    "security_opt": ["no-new-privileges"],
    "scope": "case",
    "warm_spare": False,
    "pull_policy": "always",
    "startup_timeout": 5.0,
    "evidence": "always",
    "keep_containers": "failed",
    "artifacts": ["/var/log/**/*.log"],
    "capture_limit": "1m",
    "measure": True,
    "init": "engine",
    "entrypoint": ["/usr/bin/env", "-i"],
    "command": ["serve", ""],
    "ready": [{"port": 80}, {"any": ["test -e /up", {"http": 81, "path": "/up?a", "status": 204}]}],
    "labels": {"team": "kernel"},
}
WHOLE = {**FULL, "build": {}}
"""`FULL` with the fields that exclude an image."""


def refused(field_name: str, value: Any) -> str:
    """Return the error's message, which names the field and the legal values."""
    with pytest.raises(ConfigError) as caught:
        ContainerTestConfig(**{field_name: value})
    message = str(caught.value)
    assert message.startswith(field_name), message
    assert "; legal: " in message
    return message


def value_of(field_name: str, value: Any) -> Any:
    return getattr(ContainerTestConfig(**{field_name: value}), field_name)


# --- the config as a whole


def test_full_names_every_field_with_another_value_than_the_default() -> None:
    default = ContainerTestConfig().to_dict()
    assert list(WHOLE) == [each.name for each in fields(ContainerTestConfig)]
    assert [name for name in FULL if FULL[name] == default[name]] == []


def test_every_field_is_documented() -> None:
    source = Path(lisa_container.config.model.__file__).read_text(encoding="utf-8")
    for name in WHOLE:
        body = source.split(f"\n    {name}: ", 1)[1].split('"""')[1]
        assert "Default:" in body, name


def test_defaults_ask_for_nothing() -> None:
    config = ContainerTestConfig()
    assert (config.memory_bytes, config.nano_cpus, config.pids_limit) == (0, 0, None)
    assert (config.binds, config.parsed_ulimits) == ((), ())
    assert (config.scope, config.pull_policy) == (Scope.SUITE, PullPolicy.MISSING)
    assert config.startup_timeout == 60


def test_round_trip_through_dict_and_json() -> None:
    config = ContainerTestConfig.from_mapping(FULL)
    assert config.to_dict() == WHOLE
    assert ContainerTestConfig.from_dict(config.to_dict()) == config
    assert ContainerTestConfig.from_json(config.to_json()) == config
    assert ContainerTestConfig.from_dict(ContainerTestConfig().to_dict()) == ContainerTestConfig()


def test_to_dict_holds_plain_types_only() -> None:
    plain = (str, int, float, bool, type(None), list, dict)
    for name, value in ContainerTestConfig.from_mapping(FULL).to_dict().items():
        assert type(value) in plain, name


def test_copies_are_equal() -> None:
    config = ContainerTestConfig.from_mapping(FULL)
    for other in (
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        dataclasses.replace(config),
    ):
        assert other == config
        assert hash(other) == hash(config)
        assert other.key() == config.key()


def test_replace_checks_again() -> None:
    with pytest.raises(ConfigError, match=r"^memory: given 'banana'"):
        dataclasses.replace(ContainerTestConfig(), memory="banana")


def test_fields_can_not_be_set() -> None:
    config = ContainerTestConfig.from_mapping(FULL)
    for name in FULL:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, FULL[name])


@pytest.mark.parametrize("name", [n for n, v in FULL.items() if isinstance(v, (dict, list))])
def test_later_changes_by_the_caller_do_not_reach_the_config(name: str) -> None:
    given = copy.deepcopy(FULL[name])
    config = ContainerTestConfig(**{name: given})
    before = config.to_dict()
    given.clear()
    assert config.to_dict() == before
    assert not hasattr(getattr(config, name), "clear")
    with pytest.raises(TypeError):
        getattr(config, name)["x"] = "y"


def test_mappings_equal_dicts() -> None:
    labels = ContainerTestConfig(labels={"a": "b"}).labels
    assert labels == {"a": "b"}
    assert len(labels) == 1
    assert repr(ContainerTestConfig(labels={"a": "b"}).labels) == "{'a': 'b'}"


# --- key


def test_key_is_the_same_in_another_process() -> None:
    code = (
        "from lisa_container.config import ContainerTestConfig as C; import sys;"
        "sys.stderr.write(C(image='a', volumes={'/b': '/b', '/a': '/a'}).key())"
    )
    config = ContainerTestConfig(image="a", volumes={"/a": "/a", "/b": "/b"})
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stderr.strip() == config.key()  # and importing us says nothing


def test_key_is_one_for_all_spellings() -> None:
    one = ContainerTestConfig(memory="1g", cap_add=["NET_RAW", "MKNOD"], ulimits={"core": 0})
    other = ContainerTestConfig(
        memory="1024M", cap_add=["cap_mknod", "CAP_NET_RAW"], ulimits={"core": "0:0"}
    )
    assert one.key() == other.key()


@pytest.mark.parametrize("name", FULL)
def test_key_depends_on_the_container(name: str) -> None:
    same = ContainerTestConfig(**{name: FULL[name]}).key() == ContainerTestConfig().key()
    of_the_case = ("scope", "startup_timeout", "warm_spare", "evidence", "artifacts")
    assert same == (name in (*of_the_case, "capture_limit", "measure"))


@pytest.mark.parametrize(
    ("given", "meant"), [(False, "no"), ("no", "no"), ("failed", "failed"), ("always", "always")]
)
def test_keep_containers(given: object, meant: str) -> None:
    """A bare `no` in YAML, which is false, means `no`."""
    assert value_of("keep_containers", given).value == meant
    settings = ContainerSettings.from_mapping({"keep_containers": given})
    assert settings.keep_containers.value == meant


@pytest.mark.parametrize("given", [True, "fail", "yes", 1])
def test_keep_containers_refused(given: object) -> None:
    assert "legal: no, failed, always" in refused("keep_containers", given)
    with pytest.raises(ConfigError, match="keep_containers.*legal: no, failed, always"):
        ContainerSettings.from_mapping({"keep_containers": given})


# --- merged


def test_merged_overrides_named_fields_only() -> None:
    config = ContainerTestConfig.from_mapping(FULL)
    merged = config.merged(image="alpine:3", privileged=False, memory=None)
    assert (merged.image, merged.privileged, merged.memory) == ("alpine:3", False, "512m")
    assert config.to_dict() == WHOLE


def test_merged_with_nothing_named_is_equal() -> None:
    config = ContainerTestConfig.from_mapping(FULL)
    assert config.merged() == config
    assert config.merged(**dict.fromkeys(FULL)) == config
    assert ContainerTestConfig().merged(**FULL) == config


def test_merged_mappings_key_by_key() -> None:
    config = ContainerTestConfig(environment={"A": "1", "B": "1"}, ulimits={"core": 0, "cpu": 9})
    merged = config.merged(environment={"B": 2, "C": True}, ulimits={"cpu": 1})
    assert merged.environment == {"A": "1", "B": "2", "C": "true"}
    assert merged.ulimits == {"core": "0:0", "cpu": "1:1"}


def test_merged_lists_are_replaced() -> None:
    config = ContainerTestConfig(cap_add=["NET_RAW"], devices=["/dev/null"])
    merged = config.merged(cap_add=["MKNOD"], devices=[])
    assert (merged.cap_add, merged.devices) == (("CAP_MKNOD",), ())


def test_merged_volume_takes_the_place_of_one_at_the_same_path() -> None:
    config = ContainerTestConfig(volumes={"/a": "/data:ro", "/b": "/b"})
    assert config.merged(volumes={"/c": "/data"}).volumes == {"/b": "/b", "/c": "/data"}
    assert config.merged(volumes={"/a": "/other"}).volumes == {"/a": "/other", "/b": "/b"}


def test_merged_is_checked() -> None:
    config = ContainerTestConfig(mount_host_root=True)
    with pytest.raises(ConfigError, match=r"^volumes: given '/host'"):
        config.merged(volumes={"/a": "/host"})
    with pytest.raises(ConfigError, match=r"^environment: given 'A=1'; legal: a mapping"):
        config.merged(environment="A=1")
    with pytest.raises(ConfigError, match=r"unknown field: given 'memroy'.*'memory'"):
        config.merged(memroy=None)


# --- from_mapping


def test_unknown_key_names_it_the_nearest_and_all_legal_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        ContainerTestConfig.from_mapping({"volume": {}}, where="runbook r.yml, platform")
    message = str(caught.value)
    assert message.startswith(
        "runbook r.yml, platform: unknown field: given 'volume'; did you mean 'volumes'? (legal: "
    )
    assert ", ".join(FULL) in message


@pytest.mark.parametrize("mapping", [{"memroy": None}, {1: "a"}, {"zzz": 1}])
def test_unknown_key_is_refused_whatever_its_value(mapping: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown field"):
        ContainerTestConfig.from_mapping(mapping)


def test_wrong_value_says_where() -> None:
    with pytest.raises(ConfigError, match=r"^runbook r.yml: memory: given 'banana'; legal: a size"):
        ContainerTestConfig.from_mapping({"memory": "banana"}, where="runbook r.yml")


def test_null_names_nothing() -> None:
    assert ContainerTestConfig.from_mapping(dict.fromkeys(FULL)) == ContainerTestConfig()


@pytest.mark.parametrize("mapping", [None, [], "image: debian", 1])
def test_not_a_mapping(mapping: Any) -> None:
    with pytest.raises(ConfigError, match=r"^container config: .*legal: a mapping of field names"):
        ContainerTestConfig.from_mapping(mapping)


@pytest.mark.parametrize("name", [n for n in FULL if n not in ("cpus", "pids_limit")])
def test_none_is_no_value_in_python(name: str) -> None:
    refused(name, None)


# --- images


@pytest.mark.parametrize(
    ("image", "registry", "reference"),
    [
        ("debian", "", "debian:latest"),
        ("debian:12", "", "debian:12"),
        ("debian:12", "reg.example.com", "reg.example.com/debian:12"),
        ("debian", "localhost", "localhost/debian:latest"),
        ("team/app", "host:5000", "host:5000/team/app:latest"),
        ("team/app", "host:5000/", "host:5000/team/app:latest"),
        ("team/app", "[::1]:5000", "[::1]:5000/team/app:latest"),
        ("debian", "harbor.example.com/proxy", "harbor.example.com/proxy/debian:latest"),
        ("a__b/c--d/e.f_g:T", "", "a__b/c--d/e.f_g:T"),
        (f"debian@{DIGEST}", "", f"debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", "reg.example.com", f"reg.example.com/debian:12@{DIGEST}"),
        # A name with a registry keeps it.
        ("quay.io/a/b", "reg.example.com", "quay.io/a/b:latest"),
        ("localhost/a", "reg.example.com", "localhost/a:latest"),
        ("Host:5000/a:1", "reg.example.com", "Host:5000/a:1"),
        # Dots in a tag do not make the first component a registry.
        ("debian:12.5", "reg.example.com", "reg.example.com/debian:12.5"),
        ("localhost", "reg.example.com", "reg.example.com/localhost:latest"),
        # Images that only the node has.
        (LOCAL_REPOSITORY + "tools", "reg.example.com", "lisa_container/tools:latest"),
        (DIGEST, "reg.example.com", DIGEST),
        (DIGEST[7:], "", DIGEST[7:]),
    ],
)
def test_image_reference(image: str, registry: str, reference: str) -> None:
    config = ContainerTestConfig(image=image, registry=registry)
    assert config.image_reference == reference
    assert config.require_image() is config


@pytest.mark.parametrize(
    ("image", "local"),
    [(LOCAL_REPOSITORY + "a:1", True), (DIGEST, True), ("debian", False), ("", False)],
)
def test_is_local_image(image: str, local: bool) -> None:
    assert ContainerTestConfig(image=image).is_local_image is local


@pytest.mark.parametrize(
    "image",
    [
        *("Debian", "Team/app", "reg.example.com/Team/app", "debian:", "debian:12:13", ":12"),
        *("/debian", "debian/", "a//b", "debian 12", "debian\n", "-a", "a-", "a___b", "a..b"),
        *("debian@sha256:12", "debian:-1", "debian:" + "t" * 129, "http://debian", "a" * 256),
        *(12, ["debian"]),
    ],
)
def test_image_is_refused(image: Any) -> None:
    refused("image", image)


def test_image_in_upper_case_suggests_lower_case() -> None:
    assert refused("image", "Debian:12").endswith("(did you mean 'debian:12'?)")
    assert refused("image", "Team/App").endswith("(did you mean 'team/app'?)")


@pytest.mark.parametrize(
    "registry",
    [
        *("registry", "https://reg.example.com", "reg.example.com:port", "reg example.com", "-a.b"),
        *("reg.example.com/Proxy", "user@reg.example.com", 5),
    ],
)
def test_registry_is_refused(registry: Any) -> None:
    assert "registry.example.com:5000" in refused("registry", registry)


def test_registry_with_a_scheme() -> None:
    assert refused("registry", "https://reg.example.com").endswith("(leave the scheme out)")


@pytest.mark.parametrize("platform", ["linux", "Linux/amd64", "linux/amd64/v1/x", "linux/", 64])
def test_wrong_platform(platform: Any) -> None:
    assert "os/architecture[/variant], such as 'linux/amd64'" in refused("platform", platform)


def test_no_image_anywhere_names_the_places() -> None:
    with pytest.raises(ConfigError) as caught:
        ContainerTestConfig().require_image()
    message = str(caught.value)
    assert message.startswith("image: ")
    for place in ("@container_test(image=", "_get_container_config()", "runbook"):
        assert place in message
    with pytest.raises(ConfigError):
        _ = ContainerTestConfig(registry="localhost").image_reference


# --- volumes


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"/srv": "/data"}, {"/srv": "/data"}),
        ({"/srv/": "/data/:ro"}, {"/srv": "/data:ro"}),
        ({"//srv/../a": "//data/./b"}, {"/a": "/data/b"}),
        ({"/": "/node:ro,rslave"}, {"/": "/node:ro,rslave"}),
        ({"/a": "/a:Z,rw,shared,cached"}, {"/a": "/a:Z,rw,shared,cached"}),
        ({"cache": "/c:nocopy"}, {"cache": "/c:nocopy"}),
        ({"a-b_c.1": "/c:z"}, {"a-b_c.1": "/c:z"}),
        ({"/srv": {"bind": "/data", "mode": "ro"}}, {"/srv": "/data:ro"}),
        ({"/srv": {"bind": "/data"}}, {"/srv": "/data"}),
        ({}, {}),
    ],
)
def test_volumes(given: Any, normal: dict[str, str]) -> None:
    volumes = value_of("volumes", given)
    assert volumes == normal
    assert value_of("volumes", volumes) == normal


@pytest.mark.parametrize(
    "volumes",
    [
        {"./srv": "/data"},
        {"srv/x": "/data"},
        {"~/srv": "/data"},
        {"a": "/data"},
        {"": "/data"},
        {1: "/data"},
        {"/a:b": "/data"},
        {"/srv": "data"},
        {"/srv": ""},
        {"/srv": "/"},
        {"/srv": "/x/.."},
        {"/srv": None},
        {"/srv": 1},
        {"/srv": ["/data"]},
        {"/srv": "/data:"},
        {"/srv": "/data:readonly"},
        {"/srv": "/data:ro:rw"},
        {"/srv": "/data:ro,rw"},
        {"/srv": "/data:ro,ro"},
        {"/srv": "/data:z,Z"},
        {"/srv": "/data:shared,rslave"},
        {"/srv": "/data:nocopy"},
        {"cache": "/data:rslave"},
        {"/srv": {"mode": "ro"}},
        {"/srv": {"bind": "/data", "mod": "ro"}},
        {"/srv": {"bind": "/data", "mode": "readonly"}},
        {"/srv": "/data", "/srv/": "/other"},
        {"/a": "/data", "/b": "/data/"},
        ["/srv:/data"],
        "/srv:/data",
    ],
)
def test_volumes_are_refused(volumes: Any) -> None:
    refused("volumes", volumes)


def test_volume_errors_name_the_legal_forms() -> None:
    assert "an absolute host path" in refused("volumes", {"./srv": "/data"})
    assert "'~' is not expanded" in refused("volumes", {"~/srv": "/data"})
    assert "an absolute container path" in refused("volumes", {"/srv": "data"})
    assert "did you mean 'rslave'?" in refused("volumes", {"/srv": "/data:rslav"})
    assert "'/srv'" in refused("volumes", {"/srv": "/data:rslav"})


def test_binds() -> None:
    config = ContainerTestConfig(mount_host_root=True, volumes={"/a": "/a:ro", "cache": "/c"})
    assert config.binds == ("/:/host:rslave", "/a:/a:ro", "cache:/c")
    assert config.merged(mount_host_root=False).binds == ("/a:/a:ro", "cache:/c")


@pytest.mark.parametrize("path", [HOST_ROOT, f"{HOST_ROOT}/", f"{HOST_ROOT}/x"])
def test_nothing_else_mounts_at_the_host_root(path: str) -> None:
    for mounts in ({"volumes": {"/a": path}}, {"tmpfs": {path: ""}}):
        ContainerTestConfig(**mounts)  # type: ignore[arg-type]
        with pytest.raises(
            ConfigError, match=f"^{next(iter(mounts))}: .*outside /host, which mount"
        ):
            ContainerTestConfig(mount_host_root=True, **mounts)  # type: ignore[arg-type]
    ContainerTestConfig(mount_host_root=True, volumes={"/a": f"{HOST_ROOT}2"})


def test_one_mount_for_each_path() -> None:
    with pytest.raises(ConfigError, match=r"^tmpfs: given '/a'; .*volumes also has this path"):
        ContainerTestConfig(volumes={"/x": "/a"}, tmpfs={"/a": ""})


# --- tmpfs, devices


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"/run": "size=64m,mode=1777"}, {"/run": "size=64m,mode=1777"}),
        ({"/run/": ""}, {"/run": ""}),
        ({"/run": None}, {"/run": ""}),
        ({"/run": "rw,exec,nr_inodes=10k"}, {"/run": "rw,exec,nr_inodes=10k"}),
    ],
)
def test_tmpfs(given: Any, normal: dict[str, str]) -> None:
    assert value_of("tmpfs", given) == normal


@pytest.mark.parametrize(
    "tmpfs",
    [
        *({"run": ""}, {"/": ""}, {"/run": "sise=1m"}, {"/run": "size"}, {"/run": "size="}),
        *({"/run": "noexec=1"}, {"/run": "ro,,rw"}, {"/run": 64}, {"/a": "", "/a/": ""}, ["/run"]),
    ],
)
def test_tmpfs_is_refused(tmpfs: Any) -> None:
    refused("tmpfs", tmpfs)


def test_wrong_tmpfs_option_suggests_the_nearest() -> None:
    message = refused("tmpfs", {"/run": "sise=1m"})
    assert "size=…" in message
    assert message.endswith("(did you mean 'size'?)")


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("/dev/kvm", "/dev/kvm:/dev/kvm:rwm"),
        ("/dev/kvm:rw", "/dev/kvm:/dev/kvm:rw"),
        ("/dev/kvm:/dev/x", "/dev/kvm:/dev/x:rwm"),
        ("/dev/kvm:/dev/x:mr", "/dev/kvm:/dev/x:mr"),
    ],
)
def test_devices(given: str, normal: str) -> None:
    assert value_of("devices", [given]) == (normal,)
    assert value_of("devices", (normal,)) == (normal,)


@pytest.mark.parametrize(
    "devices",
    [
        *("/dev/kvm", ["dev/kvm"], ["/dev/kvm:x"], ["/dev/kvm:rwmr"], ["/dev/kvm::"], [""], [1]),
        *(["/dev/kvm:"], ["/dev/kvm:/dev/x:"], ["/a:/b:rw:m"], ["/a:b:rw"], {"/dev/kvm": "rw"}),
    ],
)
def test_devices_are_refused(devices: Any) -> None:
    assert "'/dev/on_host[:/dev/in_container][:rwm]'" in refused("devices", devices)


# --- environment, labels


@pytest.mark.parametrize("name", ["environment", "labels"])
def test_scalars_become_strings(name: str) -> None:
    given = {"A": "a", "B": 1, "C": True, "D": False, "E": 1.5, "F": ""}
    normal = {"A": "a", "B": "1", "C": "true", "D": "false", "E": "1.5", "F": ""}
    assert value_of(name, given) == normal


@pytest.mark.parametrize("name", ["environment", "labels"])
@pytest.mark.parametrize(
    "value", [{"A": None}, {"A": ["x"]}, {"": "x"}, {1: "x"}, {"A\0": "x"}, {"A": "\0"}, ["A=x"]]
)
def test_texts_are_refused(name: str, value: Any) -> None:
    refused(name, value)


def test_environment_names_have_no_equals_sign() -> None:
    assert "a name without '='" in refused("environment", {"A=B": "x"})
    assert value_of("labels", {"a=b": "x"}) == {"a=b": "x"}


def test_none_in_the_environment_suggests_an_empty_string() -> None:
    message = refused("environment", {"TOKEN": None})
    assert "'TOKEN'" in message
    assert 'an empty value is written ""' in message


def test_a_value_of_the_environment_is_never_repeated() -> None:
    for value in (["hunter2"], {"password": "hunter2"}, "hunter2\0"):
        assert "hunter2" not in refused("environment", {"TOKEN": value})


# --- identity


@pytest.mark.parametrize("user", ["root", "1000", "1000:1000", "app:www-data", "_a.b-c$", "0:0"])
def test_user(user: str) -> None:
    assert value_of("user", user) == user


def test_user_as_yaml_reads_a_uid() -> None:
    assert value_of("user", 1000) == "1000"


@pytest.mark.parametrize(
    "user", ["a:b:c", ":", "a:", ":a", "-a", "a b", "2147483648", -1, True, 1.5, "0:99999999999"]
)
def test_user_is_refused(user: Any) -> None:
    assert "name|uid[:group|gid]" in refused("user", user)


@pytest.mark.parametrize("hostname", ["a", "a-b.c1", "1a", "A" * 63, "a." * 31 + "aa"])
def test_hostname(hostname: str) -> None:
    assert value_of("hostname", hostname) == hostname


@pytest.mark.parametrize(
    "hostname", ["-a", "a-", "a_b", "a..b", ".a", "a.", "a" * 64, "a.b" * 30, 7]
)
def test_hostname_is_refused(hostname: Any) -> None:
    assert "RFC 1123" in refused("hostname", hostname)


@pytest.mark.parametrize(
    "network", ["bridge", "host", "none", "my_net-1.x", "container:web", "container:0a1b"]
)
def test_network_mode(network: str) -> None:
    assert value_of("network_mode", network) == network


@pytest.mark.parametrize(
    "network", ["container:", "container", "a b", "-a", "other:web", "a:b:c", 1]
)
def test_network_mode_is_refused(network: Any) -> None:
    assert "'container:<name or id>'" in refused("network_mode", network)


def test_hostname_goes_not_with_the_network_of_a_container() -> None:
    ContainerTestConfig(hostname="a", network_mode="host")
    with pytest.raises(ConfigError, match=r"^hostname: given 'a'; legal: none with network_mode"):
        ContainerTestConfig(hostname="a", network_mode="container:web")


def test_working_dir() -> None:
    assert value_of("working_dir", "/a/./b/") == "/a/b"
    assert value_of("working_dir", "/") == "/"
    for wrong in ("a", "./a", "~", "/a\0", 1):
        assert "an absolute path in the container" in refused("working_dir", wrong)


# --- privileges


def test_capability_list_is_the_kernels() -> None:
    assert len(CAPABILITIES) == 41
    # linux/capability.h
    for number, name in {0: "CHOWN", 12: "NET_ADMIN", 21: "SYS_ADMIN", 30: "AUDIT_CONTROL"}.items():
        assert CAPABILITIES[number] == f"CAP_{name}"
    assert CAPABILITIES.index("CAP_SETFCAP") == 31
    assert CAPABILITIES.index("CAP_CHECKPOINT_RESTORE") == 40


@pytest.mark.parametrize("name", ["cap_add", "cap_drop"])
def test_capabilities(name: str) -> None:
    given = ["sys_admin", "CAP_NET_RAW", "Cap_Sys_Admin", "all"]
    assert value_of(name, given) == ("ALL", "CAP_NET_RAW", "CAP_SYS_ADMIN")
    assert value_of(name, ["CAP_ALL"]) == ("ALL",)


@pytest.mark.parametrize("name", ["cap_add", "cap_drop"])
def test_capabilities_are_refused(name: str) -> None:
    message = refused(name, ["NET_ADMINS"])
    assert "CAP_CHECKPOINT_RESTORE" in message
    assert message.endswith("(did you mean 'CAP_NET_ADMIN'?)")
    for wrong in ("NET_ADMIN", [""], [12], {"NET_ADMIN": True}, True):
        refused(name, wrong)


def test_security_options() -> None:
    given = ["seccomp=unconfined", "apparmor:unconfined", "no-new-privileges", "label=disable"]
    assert value_of("security_opt", given) == tuple(given)
    message = refused("security_opt", ["secomp=unconfined"])
    assert "no-new-privileges" in message
    assert message.endswith("(did you mean 'seccomp'?)")
    refused("security_opt", "seccomp=unconfined")


# --- limits


@pytest.mark.parametrize(
    ("given", "size", "normal"),
    [
        ("512m", 512 << 20, "512m"),
        ("512M", 512 << 20, "512m"),
        ("512mb", 512 << 20, "512m"),
        ("512MiB", 512 << 20, "512m"),
        ("512 MiB", 512 << 20, "512m"),
        ("1024m", 1 << 30, "1g"),
        ("1.5g", 3 << 29, "1536m"),
        ("2T", 2 << 40, "2t"),
        ("1p", 1 << 50, "1p"),
        ("6m", 6 << 20, "6m"),
        ("6291456", 6 << 20, "6m"),
        ("6291457b", (6 << 20) + 1, "6291457b"),
        (6291457, (6 << 20) + 1, "6291457b"),
        ("7000k", 7000 << 10, "7000k"),
    ],
)
def test_memory(given: Any, size: int, normal: str) -> None:
    config = ContainerTestConfig(memory=given)
    assert (config.memory_bytes, config.memory) == (size, normal)
    assert ContainerTestConfig(memory=normal) == config


@pytest.mark.parametrize(
    "memory",
    [
        "banana",
        "1x",
        "m",
        "-1g",
        "1e3m",
        "1,5g",
        "5m",
        "6291455",
        0,
        5,
        -1,
        True,
        1.5,
        "8192p",
        [1],
    ],
)
def test_memory_is_refused(memory: Any) -> None:
    message = refused("memory", memory)
    assert "'512m'" in message
    assert "at least 6m" in message


@pytest.mark.parametrize(
    ("given", "nano"), [(1, 10**9), (0.5, 5 * 10**8), ("1.5", 15 * 10**8), (0.01, 10**7)]
)
def test_cpus(given: Any, nano: int) -> None:
    assert ContainerTestConfig(cpus=given).nano_cpus == nano


@pytest.mark.parametrize("cpus", [0, -1, 0.001, "two", True, float("nan"), float("inf"), [1], ""])
def test_cpus_are_refused(cpus: Any) -> None:
    assert "at least 0.01" in refused("cpus", cpus)


@pytest.mark.parametrize("given", [-1, 1, 4096, "4096", "-1"])
def test_pids_limit(given: Any) -> None:
    assert value_of("pids_limit", given) == int(given)


@pytest.mark.parametrize("pids", [0, -2, 1.5, "many", True, ""])
def test_pids_limit_is_refused(pids: Any) -> None:
    assert "-1 for no limit" in refused("pids_limit", pids)


def test_ulimits() -> None:
    config = ContainerTestConfig(
        ulimits={"nofile": 1024, "nproc": "10:20", "core": "0", "memlock": -1, "rtprio": "5:-1"}
    )
    assert config.parsed_ulimits == (
        Ulimit("nofile", 1024, 1024),
        Ulimit("nproc", 10, 20),
        Ulimit("core", 0, 0),
        Ulimit("memlock", -1, -1),
        Ulimit("rtprio", 5, -1),
    )
    assert ContainerTestConfig(ulimits=config.ulimits) == config


@pytest.mark.parametrize(
    "limit",
    ["2:1", "-1:5", -2, "1:2:3", "", ":", "1:", "many", 2**63, "9" * 5000, 1.5, True, None, [1, 2]],
)
def test_ulimits_are_refused(limit: Any) -> None:
    message = refused("ulimits", {"nofile": limit})
    assert "'nofile'" in message
    assert "'soft:hard'" in message


def test_wrong_ulimit_name_suggests_the_nearest() -> None:
    message = refused("ulimits", {"nofiles": 1})
    assert "sigpending" in message
    assert message.endswith("(did you mean 'nofile'?)")
    refused("ulimits", {"as": 1})
    refused("ulimits", ["nofile=1"])


# --- flags, enums, the timeout


@pytest.mark.parametrize("name", ["privileged", "mount_host_root", "read_only"])
def test_flags(name: str) -> None:
    assert [value_of(name, v) for v in (True, "true", "True")] == [True, True, True]
    assert [value_of(name, v) for v in (False, "false")] == [False, False]
    wrong_values: list[Any] = ["yes", "", 1, 0, []]
    for wrong in wrong_values:
        assert "true or false" in refused(name, wrong)


def test_enums_take_members_and_values() -> None:
    assert value_of("scope", "case") is value_of("scope", Scope.CASE) is Scope.CASE
    assert value_of("pull_policy", "never") is PullPolicy.NEVER
    assert "legal: suite, case" in refused("scope", "module")
    message = refused("pull_policy", "allways")
    assert "legal: always, missing, never (did you mean 'always'?)" in message
    wrong_values: list[Any] = [True, 1, []]
    for wrong in wrong_values:
        refused("scope", wrong)


def test_words_of_a_command() -> None:
    assert value_of("command", "sh -c 'a b' ''") == ("sh", "-c", "a b", "")
    assert value_of("entrypoint", ["/bin/x", "", "y z"]) == ("/bin/x", "", "y z")
    for empty in ("", [], ()):
        assert value_of("command", empty) == ()
    wrong_values: list[Any] = ["it's", [""], [1], ["a", None], ["a\0"], b"a", 5, True, {"a": "b"}]
    for wrong in wrong_values:
        assert "words of a command" in refused("command", wrong) or wrong == [""]


def test_first_process() -> None:
    assert ContainerTestConfig().first_process is Init.KEEP
    assert ContainerTestConfig(command="a").first_process is Init.IMAGE
    assert ContainerTestConfig(entrypoint="a", init="engine").first_process is Init.ENGINE
    assert ContainerTestConfig(init="image").first_process is Init.IMAGE
    assert "legal: keep, image, engine" in refused("init", "systemd")


def test_capture_limit() -> None:
    assert value_of("capture_limit", "1024k") == "1m"
    assert ContainerTestConfig().capture_limit_bytes == 64 << 20
    for wrong in ("", "63k", -1, "much", True, None):
        assert "at least 64k" in refused("capture_limit", wrong)


def test_artifacts() -> None:
    assert value_of("artifacts", ["/a/*", "/b"]) == ("/a/*", "/b")
    for wrong in ("/a", ["a"], [""], [1], None, [Path("/a")]):
        assert "absolute paths" in refused("artifacts", wrong)


def test_startup_timeout() -> None:
    assert value_of("startup_timeout", "1.5") == 1.5
    for wrong in (0, -1, float("inf"), "soon", True, ""):
        assert "a number of seconds above 0" in refused("startup_timeout", wrong)


# --- in LISA's schemas


@dataclass_json()
@dataclass
class _Holder:
    name: str = ""
    container: ContainerTestConfig = field(default=ContainerTestConfig())


def test_loads_as_a_lisa_schema() -> None:
    config = schema.load_by_type(ContainerTestConfig, dict(FULL))
    assert config == ContainerTestConfig.from_mapping(FULL)
    assert ContainerTestConfig.schema().dump(config) == WHOLE
    with pytest.raises(ConfigError, match=r"unknown field: given 'memroy'"):
        schema.load_by_type(ContainerTestConfig, {"memroy": "1g"})


def test_loads_as_a_part_of_another_schema() -> None:
    holder = schema.load_by_type(_Holder, {"name": "a", "container": FULL})
    assert holder.container == ContainerTestConfig.from_mapping(FULL)
    as_dict = {"name": "a", "container": WHOLE}
    assert holder.to_dict() == as_dict  # type: ignore[attr-defined]
    assert _Holder.from_dict(as_dict) == holder  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"memory: given 'banana'"):
        schema.load_by_type(_Holder, {"container": {"memory": "banana"}})
    with pytest.raises(UndefinedParameterError, match=r"memroy"):
        _Holder.from_dict({"container": {"memroy": "1g"}})  # type: ignore[attr-defined]


WHERE = "runbook, guest of type config_test"


@dataclass_json()
@dataclass
class _GuestSchema(schema.GuestNode, ConfigFields):
    type: str = "config_test"

    def __post_init__(self, *args: Any, **kwargs: Any) -> None:
        self.config = self.to_config(WHERE)


class _Guest(GuestNode):
    @classmethod
    def type_name(cls) -> str:
        return "config_test"

    @classmethod
    def type_schema(cls) -> type[schema.TypedSchema]:
        return _GuestSchema


def _platform(**guest: Any) -> schema.Platform:
    guests = [{"type": "config_test", **guest}]
    return schema.load_by_type(
        schema.Platform, {"type": "ready", "guest_enabled": True, "guests": guests}
    )


def test_fields_in_a_guest_of_a_runbook() -> None:
    platform = _platform(image="debian:12", privileged=True, name="box")
    (guest,) = platform.guests
    assert isinstance(guest, _GuestSchema)
    assert guest.config == ContainerTestConfig(image="debian:12", privileged=True)
    assert guest.name == "box"
    # LISA copies platforms, and turns them into dicts and back.
    assert copy.deepcopy(platform).guests[0].config == guest.config
    as_dict = platform.to_dict()  # type: ignore[attr-defined]
    assert schema.load_by_type(schema.Platform, as_dict).guests[0].config == guest.config


def test_every_field_in_a_guest_of_a_runbook() -> None:
    assert _platform(**FULL).guests[0].config == ContainerTestConfig.from_mapping(FULL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("image", "Debian"), ("privileged", "maybe"), ("volumes", ["/a:/a"]), ("memory", {})),
        *(("environment", "A=1"), ("cap_add", "NET_RAW"), ("ulimits", 5), ("scope", ["case"])),
        *(("cpus", "two"), ("network_mode", 5), ("devices", {}), ("user", 1.5)),
    ],
)
def test_guest_of_a_runbook_is_refused_in_our_words(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        _platform(**{name: value})
    assert str(caught.value).startswith(f"{WHERE}: {name}: given ")


def test_unknown_key_of_a_guest_names_the_legal_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        _platform(volume={})
    message = str(caught.value)
    assert message.startswith(
        f"{WHERE}: unknown field: given 'volume'; did you mean 'volumes'? (legal: "
    )
    for name in (*FULL, "name", "capability", "use_parent_capability"):
        assert name in message


def test_the_real_guest_takes_the_fields() -> None:
    guests = [{"type": "container", "image": "debian:12", "privileged": True}]
    platform = schema.load_by_type(
        schema.Platform, {"type": "ready", "guest_enabled": True, "guests": guests}
    )
    expected = ContainerTestConfig(image="debian:12", privileged=True)
    assert platform.guests[0].to_config("runbook") == expected


# --- docstrings


@pytest.mark.parametrize(
    "module",
    [lisa_container.config.checks, lisa_container.config.model, lisa_container.config.reference],
)
def test_examples_in_docstrings(module: Any) -> None:
    # Not doctest.testmod: LISA replaces sys.stdout by a writer that doctest can not use.
    output: list[str] = []
    examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert examples
    runner = doctest.DocTestRunner()
    for example in examples:
        runner.run(example, out=output.append)
    assert runner.failures == 0, "".join(output)
