"""`ContainerTestConfig`: its fields, and how configs are merged and read from a mapping."""

# dataclasses-json evaluates the fields' annotations, and Python 3.9 cannot evaluate `X | Y`.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from operator import attrgetter
from typing import Any, Optional, Union

import marshmallow
from dataclasses_json import DataClassJsonMixin, Undefined
from dataclasses_json import config as json_config

from lisa_container.config import build as builds
from lisa_container.config import checks, identity, images, limits, mounts, privileges, readiness
from lisa_container.config.choices import Evidence, Init, KeepContainers, PullPolicy, Scope
from lisa_container.config.reference import ImageReference
from lisa_container.errors import ConfigError


def _rule(rule: checks.Rule) -> dict[str, Any]:
    """Return a field's metadata: its rule, and no decoding by dataclasses-json."""
    return {"rule": rule, **json_config(decoder=lambda value: value)}


def _member(enum: type[Enum]) -> dict[str, Any]:
    """Return the metadata of a field with a member of an enum; YAML has the member's value."""
    rule = checks.one_of(enum)
    encoder = attrgetter("value")
    return {"rule": rule, **json_config(encoder=encoder, decoder=lambda value: value)}


# Fields that do not change the container itself.
_OF_THE_CASE = (
    *("scope", "startup_timeout", "warm_spare"),
    *("evidence", "artifacts", "capture_limit", "measure"),
)

# Fields whose mappings are one value: `merged` replaces them as a whole.
_WHOLE = ("build", "ready")

# Fields that the engine does not get as JSON; they may have any bytes.
_NOT_FOR_THE_ENGINE = ("artifacts", "ready", "build")
_REFUSE_UNKNOWN = json_config(undefined=Undefined.RAISE)["dataclasses_json"]


@dataclass(frozen=True)
class ContainerTestConfig(checks.KnownFields, DataClassJsonMixin):
    """Config of a test's container.

    The constructor checks every value and puts it into its normal form. A wrong value raises
    `ConfigError` with the field, the value and the legal values. A config is immutable; `merged`
    makes a new one. YAML uses the same names, and `null` there means "not given".

    Sources of the defaults: [run] is docker-run(1), [api] is the Docker Engine API's HostConfig.

    >>> config = ContainerTestConfig(image="debian", memory="1024m", volumes={"/srv": "/data:ro"})
    >>> config.image_reference, config.memory, config.binds
    ('debian:latest', '1g', ('/srv:/data:ro',))
    """

    image: str = field(default="", metadata=_rule(images.image))
    """Image as `[registry/]name[:tag][@digest]`, or the id of an image on the node. Default: none,
    then it must be given elsewhere. A name that begins with `lisa_container/` is an image that is
    made on the node, without a registry."""

    registry: str = field(default="", metadata=_rule(images.registry))
    """`host[:port]`, put in front of an `image` that names no registry itself. Default: none, the
    engine's own (Docker Hub for docker) [run]."""

    platform: str = field(default="", metadata=_rule(images.platform))
    """`os/architecture[/variant]` to pull the image for, such as `linux/arm64`. Default: the node's
    own [run]."""

    privileged: bool = field(default=False, metadata=_rule(checks.flag))
    """Whether the container has all capabilities and devices that the engine can grant. Default:
    false [run]."""

    mount_host_root: bool = field(default=False, metadata=_rule(checks.flag))
    """Whether the node's `/` is mounted at `/host`, with later mounts below it. Default: false."""

    volumes: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(mounts.volumes))
    """Host path or volume name to container path, with options behind a colon (`:ro`). Default:
    none [run]."""

    environment: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.environment))
    """Environment variables, added to the image's. Default: none [run]."""

    network_mode: str = field(default="", metadata=_rule(identity.network_mode))
    """`bridge`, `host`, `none`, `container:<name>` or a network's name. Default: the engine's,
    `bridge` for docker [run]."""

    network_aliases: Sequence[str] = field(default=(), metadata=_rule(identity.network_aliases))
    """Further names of the container in the network that `network_mode` names; other containers
    there find it by them. Default: none [run]."""

    working_dir: str = field(default="", metadata=_rule(checks.optional_path))
    """Absolute path in which commands start. Default: the image's, else `/` [run]."""

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
    """Whether the container's root file system is read-only. Default: false [run]."""

    security_opt: Sequence[str] = field(default=(), metadata=_rule(privileges.security_options))
    """Security options such as `seccomp=unconfined`. Default: none [run]."""

    scope: Scope = field(default=Scope.SUITE, metadata=_member(Scope))
    """Lifetime of the container: `suite` or `case`. Default: `suite`, which saves a start for each
    case; choose `case` when cases change their container."""

    warm_spare: bool = field(default=True, metadata=_rule(checks.flag))
    """With `scope: case`, whether the next case's container is prepared while a case runs. Default:
    true; choose false where a case needs the node for itself."""

    pull_policy: PullPolicy = field(default=PullPolicy.MISSING, metadata=_member(PullPolicy))
    """When to pull the image: `always`, `missing` or `never`. Default: `missing` [run]."""

    startup_timeout: float = field(default=60.0, metadata=_rule(checks.positive_seconds))
    """Seconds that a container may take to start, without the pull. Default: 60, which leaves time
    for a busy or an emulated node."""

    evidence: Evidence = field(default=Evidence.FAILURE, metadata=_member(Evidence))
    """When the state of the container is recorded at a case's end: `failure`, `always` or `never`.
    Default: `failure`, as the state after a passed case is seldom of use."""

    keep_containers: KeepContainers = field(
        default=KeepContainers.NO, metadata=_member(KeepContainers)
    )
    """When the container stays on its node, to look into it: `no`, `failed` or `always`. Default:
    `no`, unless the run's settings or the platform's `keep_environment` ask for it."""

    artifacts: Sequence[str] = field(default=(), metadata=_rule(checks.globs))
    """Files of the container to keep at each case's end, as absolute paths with `*`, `**`, `?` and
    `[…]`. Default: none."""

    capture_limit: Union[int, str] = field(default="64m", metadata=_rule(limits.capture_limit))
    """Most bytes to record of each command's stdout, and of its stderr; at least 64k. Default: 64m,
    more than the output of usual tools."""

    measure: bool = field(default=False, metadata=_rule(checks.flag))
    """Whether to record the CPU time, memory and I/O of each command. Default: false, as it adds
    2 to 5 ms to each."""

    init: Init = field(default=Init.KEEP, metadata=_member(Init))
    """First process: `keep`, `image` or `engine`. Default: `keep`, so that a container runs until
    it is removed; with an `entrypoint` or `command` the default is `image`."""

    entrypoint: Sequence[str] = field(default=(), metadata=_rule(checks.words))
    """Program and arguments that replace the image's entrypoint. Default: the image's [run]."""

    command: Sequence[str] = field(default=(), metadata=_rule(checks.words))
    """Command, or arguments of the entrypoint, that replace the image's. Default: the image's
    [run]."""

    ready: Union[str, Mapping[str, Any], Sequence[Any]] = field(
        default="", metadata=_rule(readiness.ready)
    )
    """Check that succeeds once the container is ready; repeated until `startup_timeout`. A command
    for `sh` in the container, or a mapping: `{port: 80}`, `{http: 80, path: /up}`,
    `{log: started}`, `{healthcheck: true}`, `{any: […]}`, `{all: […]}`; of a list, all must
    succeed. Default: none. systemd and an image's HEALTHCHECK are awaited without it."""

    labels: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.texts))
    """Labels on the container, added to the image's. Default: none [run]."""

    build: Mapping[str, Any] = field(default=checks.EMPTY, metadata=_rule(builds.build))
    """Input for building the image, instead of an `image`: a folder with a Dockerfile, or a mapping
    like Compose's `build` (`BuildSpec`). Default: none."""

    # A hook of the mixin, which declares it as None: dataclasses-json must not drop an unknown key
    # where this config is a part of another dataclass.
    dataclass_json_config = _REFUSE_UNKNOWN  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        for each in fields(self):
            value = each.metadata["rule"](each.name, getattr(self, each.name))
            checks.require_encodable(each.name, value, each.name not in _NOT_FOR_THE_ENGINE)
            if isinstance(value, tuple):
                value = checks.FrozenList(value, each.name)
            object.__setattr__(self, each.name, value)
        mounts.check_together(self.volumes, self.tmpfs, self.mount_host_root)
        identity.check_together(self.hostname, self.network_mode, self.network_aliases)
        readiness.check_together(self.ready_checks, self.network_mode, self.has_own_output)
        if self.image and self.build:
            raise ConfigError(f"build: given beside image {self.image!r}; legal: one of them")

    @property
    def first_process(self) -> Init:
        """`init`, or `image` where only an entrypoint or a command is given."""
        has_own = bool(self.entrypoint or self.command)
        return Init.IMAGE if has_own and self.init is Init.KEEP else self.init

    @property
    def has_own_output(self) -> bool:
        """Whether the first process is the image's or the config's own, and may write a log."""
        return self.first_process is not Init.KEEP

    @property
    def ready_checks(self) -> readiness.AllCheck:
        """`ready` as objects."""
        return readiness.parse_ready("ready", self.ready)

    @property
    def image_reference(self) -> str:
        """The image's full name for the engine, with registry and tag.

        Raises:
            ConfigError: the config names no image.
        """
        return str(self.parsed_image)

    @cached_property
    def parsed_image(self) -> ImageReference:
        """The parts of `image_reference`.

        Raises:
            ConfigError: the config names no image.
        """
        if not self.image:
            raise checks.illegal(
                "image",
                "",
                "an image such as 'debian:12', named in @container_test(image=…), in the suite's "
                "_get_container_config(), or as 'image' of the runbook's guest",
            )
        return ImageReference.parse(self.image).in_registry(self.registry)

    def require_image(self) -> ContainerTestConfig:
        """Return this config if a container can start with it: it has an image, or a build.

        Raises:
            ConfigError: the config has neither; or aliases, but no network for them.
        """
        if self.network_aliases and not self.network_mode:
            raise checks.illegal(
                "network_mode", "", "the name of a network, since network_aliases names one"
            )
        if self.build:
            self.build_spec.check_files()
        else:
            _ = self.image_reference
        return self

    @property
    def build_spec(self) -> builds.BuildSpec:
        """`build` as an object; only for a config that has a build."""
        return builds.BuildSpec(**self.build)

    @property
    def is_local_image(self) -> bool:
        """Whether the image is made on the node, or named by its id: no registry has it."""
        return bool(self.image) and self.parsed_image.is_local

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
        """`capture_limit` as a number of bytes."""
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
        """Return a short hash: equal for two configs that one container can serve.

        The hash is the same in every process. Fields that do not change the container do not count:
        `scope`, `startup_timeout`, `warm_spare`, and the fields for recording.
        """
        content = self.to_dict()
        for name in _OF_THE_CASE:
            del content[name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def merged(self, **overrides: Any) -> ContainerTestConfig:
        """Return a new config with some fields replaced.

        Mappings are merged key by key, and lists are replaced. A volume also replaces one with the
        same container path. A build and `ready` are replaced as a whole. An image replaces a build,
        and a build an image.

        Args:
            overrides: field names to values; None leaves the field as it is.

        Raises:
            ConfigError: a name or value is wrong.
        """
        content: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        checks.check_names(overrides, content)
        for each in fields(self):
            value = overrides.get(each.name)
            if value is None:
                continue
            value = each.metadata["rule"](each.name, value)
            ours = content[each.name]
            if each.name == "volumes":
                replaced = mounts.targets(value)
                ours = {k: v for k, v in ours.items() if v.partition(":")[0] not in replaced}
            is_merged = isinstance(value, Mapping) and each.name not in _WHOLE
            content[each.name] = {**ours, **value} if is_merged else value
        for name, other in (("image", "build"), ("build", "image")):
            if overrides.get(name) and not overrides.get(other):
                content[other] = _DEFAULTS[other]
        return ContainerTestConfig(**content)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], where: str = "container config"
    ) -> ContainerTestConfig:
        """Read a config of a runbook.

        Args:
            mapping: field names to values; None stands for a field that is not given.
            where: first words of every error's message.

        Raises:
            ConfigError: a name or value is wrong.
        """
        try:
            if not isinstance(mapping, Mapping):
                raise checks.illegal("it", mapping, "a mapping of field names to values")
            checks.check_names(mapping, [each.name for each in fields(cls)])
            return cls().merged(**mapping)
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from e

    # dataclasses-json would decode field by field, by type, with errors that name no field.
    @classmethod
    def from_dict(cls, kvs: Any, *, infer_missing: bool = False) -> ContainerTestConfig:
        """Read a config; called by dataclasses-json."""
        return cls.from_mapping(kvs)

    # For `lisa.schema.load_by_type`, alone or as a field of another schema.
    @classmethod
    def schema(cls, **kwargs: Any) -> Any:
        """Return the schema of marshmallow; called by dataclasses-json."""
        return _Schema(many=kwargs.get("many", False))


def _refuse_assignment(config: ContainerTestConfig, name: str, value: object) -> None:
    raise checks.frozen(name, "…")


# In place of the method that `dataclass(frozen=True)` makes, whose error names no next step.
ContainerTestConfig.__setattr__ = _refuse_assignment  # type: ignore[assignment]

_DEFAULTS = {each.name: each.default for each in fields(ContainerTestConfig)}


class _Schema(marshmallow.Schema):
    """Schema that passes the whole mapping to `from_mapping`, which has all rules."""

    class Meta:
        unknown = marshmallow.INCLUDE

    @marshmallow.post_load
    def _load(self, data: dict[str, Any], **kwargs: Any) -> ContainerTestConfig:
        return ContainerTestConfig.from_mapping(data)

    @marshmallow.post_dump(pass_original=True)
    def _dump(self, data: Any, original: ContainerTestConfig, **kwargs: Any) -> dict[str, Any]:
        return original.to_dict()


def require_config(given: Any, where: str) -> ContainerTestConfig:
    """Return an object that should be a config, if it is one.

    Args:
        given: the object. The message names its type only, since a mapping may have passwords.
        where: first words of the error's message, such as "config".

    Raises:
        ConfigError: it is none; the message says how to make one.
    """
    if isinstance(given, ContainerTestConfig):
        return given
    legal = "a ContainerTestConfig, such as ContainerTestConfig(image='debian:12')"
    hint = ""
    if given is None:
        hint = " (is there a 'return'?)"
    elif isinstance(given, Mapping):
        hint = " (from a mapping: ContainerTestConfig.from_mapping(…))"
    what = "None" if given is None else type(given).__name__
    raise ConfigError(f"{where}: given {what}; legal: {legal}{hint}")
