"""The config itself: its fields, how two are combined, how one is read from a mapping."""

# dataclasses-json evaluates the fields' annotations, and Python 3.9 has no `X | Y` to evaluate.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from operator import attrgetter
from typing import Any, Optional, Union

import marshmallow
from dataclasses_json import DataClassJsonMixin, Undefined
from dataclasses_json import config as json_config

from lisa_container.config import build as builds
from lisa_container.config import checks, identity, images, limits, mounts, privileges
from lisa_container.errors import ConfigError


class Scope(str, Enum):
    """How long a container lives.

    - `suite`: one container for all cases of a suite with the same config on the same node.
    - `case`: a new container for each case.
    """

    SUITE = "suite"
    CASE = "case"


class Evidence(str, Enum):
    """When all about a container is kept at the end of a case.

    - `failure`: when the case failed.
    - `always`: after each case.
    - `never`: not at all.
    """

    FAILURE = "failure"
    ALWAYS = "always"
    NEVER = "never"


class PullPolicy(str, Enum):
    """When an image is pulled, as `docker run --pull`.

    - `always`: before each container, so that a moved tag is followed.
    - `missing`: when the node has no image of that name.
    - `never`: not at all; without the image on the node, preparing fails.
    """

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


def _rule(rule: checks.Rule) -> dict[str, Any]:
    """A field's metadata: its rule, and for dataclasses-json to leave the value to the rule."""
    return {"rule": rule, **json_config(decoder=lambda value: value)}


def _member(enum: type[Enum]) -> dict[str, Any]:
    """The same for a field that holds a member of the enum; in YAML it is the member's value."""
    rule = checks.one_of(enum)
    encoder = attrgetter("value")
    return {"rule": rule, **json_config(encoder=encoder, decoder=lambda value: value)}


# Fields that say nothing about what the container is.
_OF_THE_CASE = (
    *("scope", "startup_timeout", "warm_spare"),
    *("evidence", "artifacts", "capture_limit", "measure"),
)

_REFUSE_UNKNOWN = json_config(undefined=Undefined.RAISE)["dataclasses_json"]


@dataclass(frozen=True)
class ContainerTestConfig(DataClassJsonMixin):
    """What a container of a test shall be.

    Every value is checked and put into its normal form on construction; a wrong one raises
    `ConfigError` with the field, the value and what is legal. A config never changes; `merged`
    makes a new one. The names in YAML are the same, and `null` there means "not named".

    Sources of the defaults: [run] is docker-run(1), [api] is the Docker Engine API's HostConfig.

    >>> config = ContainerTestConfig(image="debian", memory="1024m", volumes={"/srv": "/data:ro"})
    >>> config.image_reference, config.memory, config.binds
    ('debian:latest', '1g', ('/srv:/data:ro',))
    """

    image: str = field(default="", metadata=_rule(images.image))
    """Image as `[registry/]name[:tag][@digest]`, or the id of an image on the node. Default: none,
    it must then be named elsewhere. A name that begins with `lisa_container/` is an image made on
    the node, without a registry."""

    registry: str = field(default="", metadata=_rule(images.registry))
    """`host[:port]`, put in front of an `image` that names no registry itself. Default: none, the
    engine's own (Docker Hub for docker) [run]."""

    platform: str = field(default="", metadata=_rule(images.platform))
    """`os/architecture[/variant]` to pull the image for, such as `linux/arm64`. Default: the node's
    own [run]."""

    privileged: bool = field(default=False, metadata=_rule(checks.flag))
    """All the capabilities and devices that the engine can grant. Default: false [run]."""

    mount_host_root: bool = field(default=False, metadata=_rule(checks.flag))
    """The node's `/` at `/host`, with what is mounted there later. Default: false."""

    volumes: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(mounts.volumes))
    """Host path or volume name to container path, with options behind a colon (`:ro`). Default:
    none [run]."""

    environment: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.environment))
    """Environment variables, added to the image's. Default: none [run]."""

    network_mode: str = field(default="", metadata=_rule(identity.network_mode))
    """`bridge`, `host`, `none`, `container:<name>` or a network's name. Default: the engine's,
    `bridge` for docker [run]."""

    working_dir: str = field(default="", metadata=_rule(checks.optional_path))
    """Absolute path that commands start in. Default: the image's, else `/` [run]."""

    user: str = field(default="", metadata=_rule(identity.user))
    """`name|uid[:group|gid]` that commands run as. Default: the image's, else root [run]."""

    hostname: str = field(default="", metadata=_rule(identity.hostname))
    """Host name in the container. Default: the container's short id [run]."""

    cap_add: Sequence[str] = field(default=(), metadata=_rule(privileges.capabilities))
    """Linux capabilities to add to the engine's default set. Default: none [run]."""

    cap_drop: Sequence[str] = field(default=(), metadata=_rule(privileges.capabilities))
    """Linux capabilities to take from the engine's default set. Default: none [run]."""

    devices: Sequence[str] = field(default=(), metadata=_rule(mounts.devices))
    """Devices of the node as `/dev/on_host[:/dev/in_container][:rwm]`. Default: none [run]."""

    tmpfs: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(mounts.tmpfs))
    """Container path to mount options (`size=64m,mode=1777`) of a tmpfs; docker puts
    noexec,nosuid,nodev in front of them. Default: none [run]."""

    ulimits: Mapping[str, Union[int, str]] = field(
        default=checks.EMPTY, metadata=_rule(limits.ulimits)
    )
    """rlimit name to `limit` or `soft:hard`, in the kernel's units, -1 for no limit (getrlimit(2)).
    Default: the engine's [run]."""

    memory: Union[int, str] = field(default="", metadata=_rule(limits.memory))
    """Most memory, in bytes or as a size such as `512m`, at least 6m. Default: no limit [run]."""

    cpus: Optional[float] = field(default=None, metadata=_rule(limits.cpus))
    """Most CPU time, in CPUs, at least 0.01. Default: no limit [run]."""

    pids_limit: Optional[int] = field(default=None, metadata=_rule(limits.pids_limit))
    """Most processes and threads, -1 for no limit. Default: the engine's [api]."""

    read_only: bool = field(default=False, metadata=_rule(checks.flag))
    """The container's root file system cannot be written. Default: false [run]."""

    security_opt: Sequence[str] = field(default=(), metadata=_rule(privileges.security_options))
    """Security options such as `seccomp=unconfined`. Default: none [run]."""

    scope: Scope = field(default=Scope.SUITE, metadata=_member(Scope))
    """How long a container lives: `suite` or `case`. Default: `suite`, which saves a start for
    each case; choose `case` when a case leaves its container changed."""

    warm_spare: bool = field(default=True, metadata=_rule(checks.flag))
    """With `scope: case`, make the container of the next case ready while the present one runs.
    Default: true; choose false where a case needs the node to itself."""

    pull_policy: PullPolicy = field(default=PullPolicy.MISSING, metadata=_member(PullPolicy))
    """When to pull the image: `always`, `missing` or `never`. Default: `missing` [run]."""

    startup_timeout: float = field(default=60.0, metadata=_rule(checks.positive_seconds))
    """Seconds that a container may take to start, without the pull. Default: 60, which is ample on
    an idle node, so that a busy or an emulated one is not failed for being slow."""

    evidence: Evidence = field(default=Evidence.FAILURE, metadata=_member(Evidence))
    """When all about a container is kept at a case's end: `failure`, `always` or `never`. Default:
    `failure`, as what a passed case left is seldom looked at."""

    artifacts: Sequence[str] = field(default=(), metadata=_rule(checks.globs))
    """Files of the container that are kept at each case's end, as absolute paths with `*`, `**`,
    `?` and `[…]`. Default: none."""

    capture_limit: Union[int, str] = field(default="64m", metadata=_rule(limits.capture_limit))
    """How much of each command's stdout, and of its stderr, is recorded, at least 64k. Default:
    64m, which no log of a tool reaches by mistake."""

    measure: bool = field(default=False, metadata=_rule(checks.flag))
    """Record what each command uses: CPU time, memory, I/O. Default: false, as that adds
    2 to 5 ms to each."""

    labels: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.texts))
    """Labels on the container, added to the image's. Default: none [run]."""

    build: Mapping[str, Any] = field(default=checks.EMPTY, metadata=_rule(builds.build))
    """What to build the image from, instead of an `image`: a folder with a Dockerfile, or a mapping
    as Compose's `build` (`BuildSpec`). Default: none, nothing is built."""

    # The mixin's own hook: dataclasses-json may meet this config as a part of another dataclass,
    # and must not drop an unknown key then. The mixin declares it as None.
    dataclass_json_config = _REFUSE_UNKNOWN  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for each in fields(self):
            value = each.metadata["rule"](each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
        mounts.check_together(self.volumes, self.tmpfs, self.mount_host_root)
        identity.check_together(self.hostname, self.network_mode)
        if self.image and self.build:
            raise ConfigError(f"build: given beside image {self.image!r}; legal: one of them")

    @property
    def image_reference(self) -> str:
        """The image's full name for the engine, with registry and tag. Raises without an image."""
        if not self.image:
            raise checks.illegal(
                "image",
                "",
                "an image such as 'debian:12', named in @container_test(image=…), in the suite's "
                "_get_container_config(), or as 'image' of the runbook's guest",
            )
        return images.reference(self.image, self.registry)

    def require_image(self) -> ContainerTestConfig:
        """This config, if it names an image or a build whose files are there; else `ConfigError`
        tells where to name one."""
        if self.build:
            self.build_spec.check_files()
        else:
            _ = self.image_reference
        return self

    @property
    def build_spec(self) -> builds.BuildSpec:
        """`build` as an object; there must be one."""
        return builds.BuildSpec(**self.build)

    @property
    def is_local_image(self) -> bool:
        """The image is made on the node, or named by its id: there is nowhere to pull it from."""
        return images.is_local(self.image)

    @property
    def binds(self) -> tuple[str, ...]:
        """Volumes and the host's root as the API's `Binds`: "/on/host:/in/container:ro"."""
        return mounts.binds(self.volumes, self.mount_host_root)

    @property
    def memory_bytes(self) -> int:
        """`memory` for the API; 0 is no limit."""
        return limits.size_bytes(str(self.memory))

    @property
    def capture_limit_bytes(self) -> int:
        """`capture_limit` as a number."""
        return limits.size_bytes(str(self.capture_limit))

    @property
    def nano_cpus(self) -> int:
        """`cpus` for the API; 0 is no limit."""
        return limits.nano_cpus(self.cpus)

    @property
    def parsed_ulimits(self) -> tuple[limits.Ulimit, ...]:
        """`ulimits` for the API."""
        return limits.parsed_ulimits(self.ulimits)

    def key(self) -> str:
        """A short hash of the content: equal when one container may serve both configs.

        It is the same in every process. What says nothing about what the container is does not
        count: `scope`, `startup_timeout`, `warm_spare`, and what is recorded.
        """
        content = self.to_dict()
        for name in _OF_THE_CASE:
            del content[name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def merged(self, **overrides: Any) -> ContainerTestConfig:
        """A new config: each named override replaces the field, and None names nothing.

        Mappings are merged key by key, lists are replaced. A volume also replaces one of ours with
        the same container path. A build is replaced as a whole, and so is an image by a build, or
        a build by an image.
        """
        content: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        check_names(overrides, content)
        for each in fields(self):
            value = overrides.get(each.name)
            if value is None:
                continue
            value = each.metadata["rule"](each.name, value)
            ours = content[each.name]
            if each.name == "volumes":
                replaced = mounts.targets(value)
                ours = {k: v for k, v in ours.items() if v.partition(":")[0] not in replaced}
            is_merged = isinstance(value, Mapping) and each.name != "build"
            content[each.name] = {**ours, **value} if is_merged else value
        for name, other in (("image", "build"), ("build", "image")):
            if overrides.get(name) and not overrides.get(other):
                content[other] = _DEFAULTS[other]
        return ContainerTestConfig(**content)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], where: str = "container config"
    ) -> ContainerTestConfig:
        """Read a config as a runbook has it. `where` opens every error's message."""
        try:
            if not isinstance(mapping, Mapping):
                raise checks.illegal("it", mapping, "a mapping of field names to values")
            check_names(mapping, [each.name for each in fields(cls)])
            return cls().merged(**mapping)
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from e

    # dataclasses-json would decode field by field, by type, with errors that name no field.
    @classmethod
    def from_dict(cls, kvs: Any, *, infer_missing: bool = False) -> ContainerTestConfig:
        return cls.from_mapping(kvs)

    # For `lisa.schema.load_by_type`, alone or as a field of another schema.
    @classmethod
    def schema(cls, **kwargs: Any) -> Any:
        return _Schema(many=kwargs.get("many", False))


_DEFAULTS = {each.name: each.default for each in fields(ContainerTestConfig)}


class _Schema(marshmallow.Schema):
    """Hands the whole mapping to `from_mapping`, which knows all rules."""

    class Meta:
        unknown = marshmallow.INCLUDE

    @marshmallow.post_load
    def _load(self, data: dict[str, Any], **kwargs: Any) -> ContainerTestConfig:
        return ContainerTestConfig.from_mapping(data)

    @marshmallow.post_dump(pass_original=True)
    def _dump(self, data: Any, original: ContainerTestConfig, **kwargs: Any) -> dict[str, Any]:
        return original.to_dict()


def check_names(names: Iterable[Any], legal: Collection[str]) -> None:
    """Refuse what is not the name of a field."""
    for name in names:
        if name not in legal:
            legal_names = ", ".join(legal)
            hint = checks.nearest(name, legal)
            raise checks.illegal("unknown field", name, legal_names, hint)
