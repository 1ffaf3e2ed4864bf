"""Suites whose cases run with, or in, a container: `ContainerTestSuite` and `@container_test`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar, overload

from lisa import Environment, Node, TestSuite
from lisa.testsuite import TestResult
from lisa.util.parallel import cancel

from lisa_container.cases import selection, upcoming
from lisa_container.cases import status as reports
from lisa_container.cases.environments import in_containers
from lisa_container.cases.life import CaseLife, case_code, case_on_nodes
from lisa_container.cases.recorder import CaseRecorder, failure_of
from lisa_container.cases.retries import counted_as_running
from lisa_container.cases.started import follow_containers
from lisa_container.config import ContainerTestConfig, Scope
from lisa_container.config.model import require_config
from lisa_container.container import interrupt
from lisa_container.container.kills import wait_for_kills
from lisa_container.container.one_shot import run_in_new_container
from lisa_container.container.request import Command
from lisa_container.container.result import CommandResult
from lisa_container.engine.installation import ensure_engine
from lisa_container.engine.workers import Workers
from lisa_container.errors import ConfigError
from lisa_container.evidence import NoiseRule
from lisa_container.executor import ContainerExecutor
from lisa_container.notifiers.full_disk import DiskListener
from lisa_container.notifiers.history import RunListener
from lisa_container.notifiers.listener import listen
from lisa_container.notifiers.masked_messages import MaskedMessages
from lisa_container.snapshots.normalise import RuleSet

Case = Callable[..., None]
C = TypeVar("C", bound=Case)

# LISA imports suites in its main thread, the only one that may install a signal handler.
interrupt.install(on_interrupt=cancel)
listen(upcoming.Upcoming)
listen(MaskedMessages)
listen(RunListener)
listen(DiskListener)
listen(reports.CaseStatus)
follow_containers()

# Attribute of a decorated case: its overrides. functools.wraps copies it to LISA's wrapper.
_MARK = "_container_test"
# Parameters that ask for containers.
_CONTAINER, _CONTAINERS = "container", "containers"
# LISA passes only arguments that a case annotates; a decorated case needs these in any case.
_NEEDED = {
    "node": Node,
    "result": TestResult,
    "variables": dict[str, Any],
    "log_path": Path,
}
# Parameters of cases in addition to LISA's.
_OF_SUITES = ("container", "containers", "host")
_OF_DECORATED = ("container", "host")


class ContainerTestSuite(TestSuite):
    """Suite with a container on each node, which its cases can take as a parameter.

        @TestSuiteMetadata(area="demo", category="functional", description="…")
        class Demo(ContainerTestSuite):
            def _get_container_config(self) -> ContainerTestConfig:
                return ContainerTestConfig(image="debian:12", mount_host_root=True)

            @TestCaseMetadata(description="…")
            def verify_host_root(self, container: ContainerExecutor, host: Node) -> None:
                container.run("cat /host/etc/hostname", expected_exit_code=0)

    A case may have LISA's parameters and three more: `container` (the container on its node),
    `containers` (one for each node of the environment, in order) and `host` (its node).
    `before_case` and `after_case` can name them, too; as keyword arguments they get those that the
    case has.

    A container starts when a case's parameters or its code first ask for it, and serves the suite's
    other cases on that node. With `scope: case` in the config each case gets a fresh one. The
    container is removed with the environment.

    Snapshots of outputs (`CommandResult.assert_output_matches`) are in `snapshots/<suite>` beside
    the suite's file.
    """

    output_rules: RuleSet | None = None
    """Rules of normalisation for the suite's snapshots; None means `default_rules()`. Set on the
    class."""

    change_rules: Sequence[NoiseRule] | None = None
    """Rules for changes that `changes.json` leaves out; None means `default_noise_rules()`. Set on
    the class."""

    _case: CaseRecorder | None = None

    def _get_container_config(self) -> ContainerTestConfig:
        """Return the config of the suite's container; override this method."""
        raise ConfigError(
            f"suite '{type(self).__name__}' names no container: override _get_container_config() "
            "and return ContainerTestConfig(image=…)"
        )

    @functools.cached_property
    def container_config(self) -> ContainerTestConfig:
        """Config of the suite's container."""
        where = f"suite '{type(self).__name__}', return value of _get_container_config()"
        return require_config(self._get_container_config(), where)

    def _prepare_container(self, node: Node) -> Any:
        """Return the suite's container on a node; start it first if it does not run.

        Override this method to prepare the container further, and call it by `super()`. The
        override need not return anything.

        Args:
            node: Node of the environment.

        Returns:
            The `ContainerExecutor`.

        Raises:
            ConfigError: The config is wrong; nothing was created.
            EngineError: The container cannot be started; nothing stays on the node.
        """
        return self._life.container_on(node)

    def _run_in_container(
        self,
        node: Node,
        command: Command,
        *,
        remove: bool | None = None,
        detach: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> CommandResult:
        """Run a command in the suite's container on a node, or in a container of its own.

        With `remove`, `detach` or `name` the command is the first process of a new container with
        the suite's config, as with `DockerAdvanced.run_in_container`.

        Args:
            node: Node of the environment.
            command: See `ContainerExecutor.run`.
            remove: Remove the container of its own when it ends; the default there.
            detach: Return at once, with the id of the container of its own as stdout.
            name: Name of the container of its own.
            options: Further arguments of `ContainerExecutor.run`, such as `working_dir` and
                `environment`. A container of its own takes `cwd` or `working_dir`, `update_envs` or
                `environment`, `user`, `timeout` (seconds) and `expected_exit_code`.

        Raises:
            ConfigError: An argument is wrong; nothing was created.
            EngineError: See `ContainerExecutor.run`.
        """
        if remove is None and not detach and name is None:
            return self._container_on(node).run(command, **options)
        return run_in_new_container(
            ensure_engine(node),
            self.container_config,
            command,
            name,
            remove=remove is not False,
            detach=detach,
            **options,
        )

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """Variables of the runbook that cases may see (`is_case_visible: true`)."""
        return {}

    @functools.cached_property
    def _mistakes(self) -> dict[str, ConfigError]:
        """Mistakes of cases, by the names of the cases; such a case fails before anything else."""
        return {}

    @functools.cached_property
    def _life(self) -> CaseLife:
        config = self.container_config
        is_needed = functools.partial(_is_to_come, self, config)
        return CaseLife(type(self).__qualname__, config, is_needed, False, self._case)

    def start(
        self,
        environment: Environment,
        case_results: list[TestResult],
        case_variables: dict[str, Any],
    ) -> None:
        """Run cases; LISA calls this.

        The methods of this object are wrapped, so that a user's own `before_case` and `after_case`
        need not call a method of this class.

        Args:
            environment: LISA's environment.
            case_results: LISA's results of the cases to run.
            case_variables: Variables of the runbook that cases may see.
        """
        own: Any = self
        where = type(self).__name__
        guest_mistake = selection.find_guest_mistake(where, environment.default_node)
        for result in case_results:
            name = result.runtime_data.name
            mistake = guest_mistake or _find_mistake(type(self), name)
            if mistake is not None:
                self._mistakes[name] = mistake
        own.variables = dict(case_variables)
        for result in case_results:
            name = result.runtime_data.name
            own.__dict__.setdefault(name, self._with_container(getattr(self, name), is_case=True))
        own._prepare_container = self._container_on
        own.before_case = self._with_container(self.before_case, is_case=False)
        own.after_case = self._then_release(self.after_case)
        try:
            super().start(environment, case_results, case_variables)
        finally:
            self._end_case()  # where `after_case` was not called or did not finish

    def _with_container(self, method: Case, is_case: bool) -> Case:
        """Return the method with the suite's containers among its keyword arguments."""

        @functools.wraps(method)
        def wrapper(**kwargs: Any) -> None:
            mistake = self._mistakes.get(kwargs["result"].runtime_data.name)
            if mistake is not None:
                if is_case:
                    raise mistake
                return
            result: TestResult = kwargs["result"]
            upcoming.begins(result.id_)
            self._begin_case(result, kwargs["log_path"])
            if is_case and self._is_decorated(result):
                method(**kwargs)  # the decorator starts another container
                return
            asked = _asked_for(type(self), result.runtime_data.name, method)
            self._start_containers(asked, kwargs)
            assert self._case is not None
            with case_code(self._case, self, self.variables):
                method(**kwargs, **self._container_arguments(kwargs))

        return wrapper

    def _then_release(self, method: Case) -> Case:
        """Return `after_case` wrapped: evidence is taken before it, and the case ends after it."""

        @functools.wraps(method)
        def wrapper(**kwargs: Any) -> None:
            if kwargs["result"].runtime_data.name in self._mistakes:
                return
            wait_for_kills()
            result: TestResult = kwargs["result"]
            if self._case is not None and self._case.containers:
                failure = failure_of(result)
                with counted_as_running(result, kwargs["node"]):
                    self._case.take(failure)
            try:
                self._start_containers(_asked_by(method), kwargs)
                method(**kwargs, **self._container_arguments(kwargs))
            finally:
                with counted_as_running(result, kwargs["node"]):
                    self._end_case()

        return wrapper

    def _start_containers(self, asked: set[str], kwargs: dict[str, Any]) -> None:
        """Start the containers that parameters ask for."""
        nodes: list[Node] = []
        if _CONTAINERS in asked:
            nodes = list(kwargs["environment"].nodes.list())
        elif _CONTAINER in asked:
            nodes = [kwargs["node"]]
        if len(nodes) == 1:
            self._container_on(nodes[0])
            return
        workers = Workers(self._container_on, "containers")
        workers.add(nodes, len(nodes))
        try:
            workers.run()
        finally:
            workers.join()  # no thread may start a container after the end of the case
        workers.raise_failure()

    def _container_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        node: Node = kwargs["node"]
        arguments: dict[str, Any] = {"host": node}
        if "_life" in vars(self):
            nodes = list(kwargs["environment"].nodes.list())
            arguments[_CONTAINERS] = self._life.containers_on(nodes)
            for container in self._life.containers_on([node]):
                arguments[_CONTAINER] = container
        return arguments

    def _container_on(self, node: Node) -> ContainerExecutor:
        """Return the case's container on a node, prepared and recorded."""
        if node in self._preparing:  # asked for by the user's own `_prepare_container`
            return self._life.container_on(node)
        for executor in self._life.containers_on([node]):
            if executor.is_running:
                return executor
        self._preparing.add(node)
        try:
            prepared: object = type(self)._prepare_container(self, node)
        finally:
            self._preparing.discard(node)
        if not isinstance(prepared, ContainerExecutor):
            prepared = self._life.container_on(node)
        self._life.use(node, prepared)
        return prepared

    @property
    def _preparing(self) -> set[Node]:
        """Nodes whose container is being prepared."""
        nodes: set[Node] = vars(self).setdefault("_nodes_in_preparation", set())
        return nodes

    def _begin_case(self, result: TestResult, folder: Path) -> None:
        """Begin the record of a case, unless it has begun."""
        if self._case is None or self._case.id != result.id_:
            vars(self).pop("_life", None)
            self._case = CaseRecorder.of(result, folder)
            self._case.rules = self.change_rules

    def _end_case(self) -> None:
        """End the record, and give back the containers of this case alone."""
        case, self._case = self._case, None
        try:
            if case is not None:
                case.end()
        finally:
            if "_life" in vars(self):
                self._life.end()

    def _is_decorated(self, result: TestResult) -> bool:
        return hasattr(getattr(type(self), result.runtime_data.name), _MARK)


@overload
def container_test(image: C) -> C: ...


@overload
def container_test(
    image: str | None = None,
    privileged: bool | None = None,
    mount_host_root: bool | None = None,
    volumes: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Callable[[C], C]: ...


def container_test(
    image: str | Case | None = None,
    privileged: bool | None = None,
    mount_host_root: bool | None = None,
    volumes: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """Make a case of any suite run inside a container.

        @TestCaseMetadata(description="…")
        @container_test(image="alpine:3", environment={"MODE": "kernel"})
        def verify_inside(self, node: Node, host: Node) -> None:
            node.execute("cat /proc/1/status")

    The case's `node` is the container as a LISA node, `host` is the node that the container runs
    on, and `container` is the `ContainerExecutor`. A case that takes `environment` gets a container
    on each node, and `environment.nodes` are the containers. `before_case` and `after_case` get the
    host: LISA calls them before the container starts and after it ends. The decorator stands above
    or below `@TestCaseMetadata`, with or without arguments. In a `ContainerTestSuite` fields that
    are not given come from the suite's config.

    Args:
        image: Image of the container.
        privileged: Grant all that the engine can grant.
        mount_host_root: Mount the node's `/` at `/host`.
        volumes: Path on the node to path in the container, with an optional `:ro`.
        environment: Environment variables.
        options: Any other field of `ContainerTestConfig`.

    Raises:
        ConfigError: A value is wrong; raised when the suite is imported.
    """
    if callable(image):
        return _decorate(image, {})
    overrides = {
        "image": image,
        "privileged": privileged,
        "mount_host_root": mount_host_root,
        "volumes": volumes,
        "environment": environment,
        **options,
    }
    ContainerTestConfig().merged(**overrides)
    return functools.partial(_decorate, overrides=overrides)


def _decorate(case: Case, overrides: dict[str, Any]) -> Case:
    parameters = inspect.signature(case).parameters

    @functools.wraps(case)
    def wrapper(suite: TestSuite, **kwargs: Any) -> None:
        node: Node = kwargs["node"]
        where = f"{type(suite).__name__}.{case.__name__}"
        mistake = selection.find_guest_mistake(where, node) or _find_mistake(
            type(suite), case.__name__
        )
        if mistake is not None:
            raise mistake
        config = _base_config(suite).merged(**overrides).require_image()
        is_needed = functools.partial(_is_to_come, suite, config)
        facts = (kwargs[name] for name in ("result", "log_path", "variables"))
        environment: Environment | None = kwargs.get("environment")
        nodes = [node] if environment is None else list(environment.nodes.list())
        with case_on_nodes(suite, config, is_needed, nodes, *facts) as executors:
            executor = executors[nodes.index(node)]
            kwargs.update(node=executor.node, container=executor, host=node)
            if environment is not None:
                kwargs["environment"] = in_containers(environment, executors)
            case(suite, **{name: kwargs[name] for name in parameters if name in kwargs})

    wrapper.__annotations__ = {**_NEEDED, **case.__annotations__}
    setattr(wrapper, _MARK, overrides)
    return wrapper


def _find_mistake(suite: type[TestSuite], name: str) -> ConfigError | None:
    """Return the mistake of a case that has a container; None for all other cases."""
    case = getattr(suite, name, None)
    is_decorated = hasattr(case, _MARK)
    if case is None or not (is_decorated or issubclass(suite, ContainerTestSuite)):
        return None
    where = f"{suite.__name__}.{name}"
    own = _OF_DECORATED if is_decorated else _OF_SUITES
    given = (*_NEEDED, *own) if is_decorated else ()
    mistake = selection.find_parameter_mistake(case, where, own, given)
    return mistake or selection.runbook_guest_mistake(where if is_decorated else suite.__name__)


listen(selection.watch_selection(_find_mistake))


def _is_to_come(suite: TestSuite, config: ContainerTestConfig) -> bool:
    """Return whether a later case of the suite needs a fresh container with this config."""
    names = upcoming.cases_of(suite._metadata.name)
    configs = [_config_of(suite, name) for name in dict.fromkeys(names)]
    return any(x.scope is Scope.CASE and x.key() == config.key() for x in configs if x is not None)


def _config_of(suite: TestSuite, name: str) -> ContainerTestConfig | None:
    """Return the config of a case's container, or None for a case without one."""
    overrides = getattr(getattr(type(suite), name, None), _MARK, None)
    if overrides is not None:
        return _base_config(suite).merged(**overrides)
    if isinstance(suite, ContainerTestSuite) and _asked_for(type(suite), name, suite.before_case):
        return suite.container_config
    return None


def _asked_for(suite: type[TestSuite], name: str, method: Case) -> set[str]:
    """Return the parameters of a case, and of a method run for it, that ask for containers."""
    case = getattr(suite, name, None)
    # The parameters of a decorated case mean the container of the decorator.
    return _asked_by(method) | (set() if hasattr(case, _MARK) else _asked_by(case))


def _asked_by(method: Case | None) -> set[str]:
    """Return the parameters of a method that ask for containers: those without a default."""
    parameters = inspect.signature(method).parameters if method is not None else {}
    required = {name for name, each in parameters.items() if each.default is each.empty}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        # LISA gives what a method annotates, and a user's own decorator may take all of it.
        required |= getattr(method, "__annotations__", {}).keys() - parameters.keys()
    return required & {_CONTAINER, _CONTAINERS}


def _base_config(suite: TestSuite) -> ContainerTestConfig:
    if (
        isinstance(suite, ContainerTestSuite)
        and type(suite)._get_container_config is not ContainerTestSuite._get_container_config
    ):
        return suite.container_config
    return ContainerTestConfig()
