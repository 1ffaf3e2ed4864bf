"""Suites whose cases run with, or in, a container: `ContainerTestSuite` and `@container_test`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar, overload

from lisa import Environment, Node, TestSuite
from lisa.testsuite import TestResult
from lisa.util import PassedException, SkippedException
from lisa.util.parallel import run_in_parallel

from lisa_container import cases, interrupt, reports, upcoming
from lisa_container.artifacts.listener import RunListener
from lisa_container.capture.evidence import NoiseRule
from lisa_container.capture.files import told
from lisa_container.capture.normalise import RuleSet
from lisa_container.capture.snapshot import snapshots_of
from lisa_container.cases import CaseRecorder
from lisa_container.command import Command, CommandResult, wait_for_kills
from lisa_container.config import ContainerTestConfig, Scope
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ConfigError
from lisa_container.executor import ContainerExecutor
from lisa_container.listening import listen
from lisa_container.sharing import NodeContainers, keep_if_asked

Case = Callable[..., None]
C = TypeVar("C", bound=Case)

# Suites are imported by LISA's main thread, the only one that may do this.
interrupt.install()
listen(upcoming.Upcoming)
listen(RunListener)
listen(reports.CaseStatus)

# On a decorated case: what it overrides; functools.wraps carries it through LISA's own decorator.
_MARK = "_container_test"


class ContainerTestSuite(TestSuite):
    """A suite with a container on each node. Its cases can take it as a parameter.

        @TestSuiteMetadata(area="demo", category="functional", description="…")
        class Demo(ContainerTestSuite):
            def _get_container_config(self) -> ContainerTestConfig:
                return ContainerTestConfig(image="debian:12", mount_host_root=True)

            @TestCaseMetadata(description="…")
            def verify_host_root(self, container: ContainerExecutor, host: Node) -> None:
                container.run("cat /host/etc/hostname", expected_exit_code=0)

    Beside what LISA gives, a case can name `container` (the one on its node), `containers` (one on
    each node of the environment, in order) and `host` (its node); `before_case` and `after_case`
    get them in their keyword arguments. The container is made for the first case that needs it and
    serves the suite's other cases on that node too; with `scope: case` in the config each case has
    a fresh one. It is removed with the environment.

    Snapshots of outputs (`CommandResult.assert_output_matches`) are in `snapshots/<suite>` beside
    the suite's file.
    """

    output_rules: RuleSet | None = None
    """Rules of normalisation for the suite's snapshots; None: `default_rules()`. Set it on the
    class."""

    change_rules: Sequence[NoiseRule] | None = None
    """Rules for what `changes.json` leaves out; None: `default_noise_rules()`. Set it on the
    class."""

    def _get_container_config(self) -> ContainerTestConfig:
        """What the suite's container shall be. Override it."""
        raise ConfigError(
            f"suite '{type(self).__name__}' names no container: override _get_container_config() "
            "and return ContainerTestConfig(image=…)"
        )

    @functools.cached_property
    def container_config(self) -> ContainerTestConfig:
        """The suite's config."""
        return self._get_container_config()

    def _prepare_container(self, node: Node) -> ContainerExecutor:
        """The suite's container on a node, started where it is not yet. Override to add to it.

        Args:
            node: of the environment.

        Raises:
            ConfigError, EngineError: it cannot be had; nothing stays behind.
        """
        if self.container_config.scope is Scope.SUITE:
            return NodeContainers.of(node).shared(type(self).__qualname__, self.container_config)
        if node not in self._of_this_case:
            self._of_this_case[node] = NodeContainers.of(node).fresh(self.container_config)
        return self._of_this_case[node]

    def _run_in_container(self, node: Node, command: Command, **kwargs: Any) -> CommandResult:
        """Run a command in the suite's container on a node.

        Args:
            node: of the environment.
            command: as for `ContainerExecutor.run`.
            kwargs: likewise.
        """
        return self._prepare_container(node).run(command, **kwargs)

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """The runbook's variables that are visible to cases (`is_case_visible: true`)."""
        return {}

    @functools.cached_property
    def _of_this_case(self) -> dict[Node, ContainerExecutor]:
        return {}

    @functools.cached_property
    def _containers(self) -> list[ContainerExecutor]:
        """Those given to the present case, one for each node."""
        return []

    def start(
        self,
        environment: Environment,
        case_results: list[TestResult],
        case_variables: dict[str, Any],
    ) -> None:
        """LISA's entry to the suite. Methods are wrapped for this run, on the object, so that a
        user's own `before_case` and `after_case` need not call ours."""
        own: Any = self
        own.variables = dict(case_variables)
        for result in case_results:
            name = result.runtime_data.name
            own.__dict__.setdefault(name, self._with_container(getattr(self, name)))
        own.before_case = self._with_container(self.before_case)
        own.after_case = self._then_release(self.after_case)
        try:
            super().start(environment, case_results, case_variables)
        finally:
            self._release_case()  # after_case may not have come to its end

    def _with_container(self, method: Case) -> Case:
        """The method with the suite's containers among its keyword arguments."""

        @functools.wraps(method)
        def wrapper(**kwargs: Any) -> None:
            if self._is_decorated(kwargs["result"]):
                method(**kwargs)  # the decorator brings a container of its own
                return
            nodes = list(kwargs["environment"].nodes.list())
            upcoming.begins(kwargs["result"].id_)
            self._containers = self._prepare_all(nodes)
            case = CaseRecorder.of(kwargs["result"], kwargs["log_path"])
            for container in self._containers:
                case.add(container, self.container_config)
            for each in self._of_this_case:
                NodeContainers.of(each).prepare_next(
                    self.container_config, self._is_another_to_come, as_node=False
                )
            try:
                with snapshots_of(self, self.variables):
                    method(**kwargs, **self._container_arguments(kwargs))
            except BaseException as error:
                for each, container in zip(nodes, self._containers):
                    keep_if_asked(each, container, error)
                raise

        return wrapper

    def _then_release(self, method: Case) -> Case:
        """`after_case` with the containers there are; those of the case go after it."""

        @functools.wraps(method)
        def wrapper(**kwargs: Any) -> None:
            wait_for_kills()
            result: TestResult = kwargs["result"]
            case = CaseRecorder.found(result)
            if case is not None:
                case.take_within(cases.failure_of(result), self.change_rules)
            try:
                method(**kwargs, **self._container_arguments(kwargs))
            finally:
                if case is not None:
                    case.end()
                self._release_case()

        return wrapper

    def _container_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        node: Node = kwargs["node"]
        arguments: dict[str, Any] = {"host": node}
        if self._containers:
            index = list(kwargs["environment"].nodes.list()).index(node)
            arguments.update(container=self._containers[index], containers=self._containers)
        return arguments

    def _prepare_all(self, nodes: list[Node]) -> list[ContainerExecutor]:
        if len(nodes) == 1:
            return [self._prepare_container(nodes[0])]
        return run_in_parallel([functools.partial(self._prepare_container, x) for x in nodes])

    def _release_case(self) -> None:
        self._containers = []
        while self._of_this_case:
            node, executor = self._of_this_case.popitem()
            NodeContainers.of(node).end_case(executor, self._is_another_to_come)

    def _is_another_to_come(self) -> bool:
        return _is_to_come(self, self.container_config)

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

    The `node` of the case is the container as a LISA node; a `host` is the machine underneath, and
    a `container` the `ContainerExecutor`. It goes above or below `@TestCaseMetadata`, bare or with
    arguments. In a `ContainerTestSuite` what it does not name comes from the suite's config.

    Args:
        image: of the container.
        privileged: as far as the engine can.
        mount_host_root: the node's `/` at `/host`.
        volumes: host path to container path, with an optional `:ro`.
        environment: variables.
        options: any other field of `ContainerTestConfig`.

    Raises:
        ConfigError: a wrong value, at once.
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
        config = _base_config(suite).merged(**overrides).require_image()
        containers = NodeContainers.of(node)
        is_needed = functools.partial(_is_to_come, suite, config)
        upcoming.begins(kwargs["result"].id_)
        if config.scope is Scope.CASE:
            executor = containers.fresh(config)
            containers.prepare_next(config, is_needed, as_node=True)
        else:
            executor = containers.shared(type(suite).__qualname__, config)
        recorder = CaseRecorder.of(kwargs["result"], kwargs["log_path"])
        failure: str | None = None

        def end() -> None:
            recorder.take_within(failure, getattr(suite, "change_rules", None))
            recorder.end()
            if config.scope is Scope.CASE:
                containers.end_case(executor, is_needed)

        try:
            recorder.add(executor, config)
            kwargs.update(node=executor.node, container=executor, host=node)
            with snapshots_of(suite, kwargs["variables"]):
                case(suite, **{name: kwargs[name] for name in parameters if name in kwargs})
        except BaseException as error:
            keep_if_asked(node, executor, error)
            if not isinstance(error, (SkippedException, PassedException)):
                failure = told(error)
            raise
        finally:
            # As one job: what ended the case may come again meanwhile, and the container must not
            # go before its evidence.
            bounded(end, None)

    # LISA gives a case only what it annotates, and we need these also where the case does not.
    needed = {
        "node": Node,
        "result": TestResult,
        "variables": dict[str, Any],
        "log_path": Path,
    }
    wrapper.__annotations__ = {**needed, **case.__annotations__}
    setattr(wrapper, _MARK, overrides)
    return wrapper


def _is_to_come(suite: TestSuite, config: ContainerTestConfig) -> bool:
    """Whether a case of the suite is still to come that wants a container of its own like this."""
    names = upcoming.cases_of(suite._metadata.name)
    configs = [_config_of(suite, name) for name in dict.fromkeys(names)]
    return any(x.scope is Scope.CASE and x.key() == config.key() for x in configs if x is not None)


def _config_of(suite: TestSuite, name: str) -> ContainerTestConfig | None:
    """What the container of a case will be; None where it has none."""
    overrides = getattr(getattr(type(suite), name, None), _MARK, None)
    if overrides is not None:
        return _base_config(suite).merged(**overrides)
    return suite.container_config if isinstance(suite, ContainerTestSuite) else None


def _base_config(suite: TestSuite) -> ContainerTestConfig:
    if (
        isinstance(suite, ContainerTestSuite)
        and type(suite)._get_container_config is not ContainerTestSuite._get_container_config
    ):
        return suite.container_config
    return ContainerTestConfig()
