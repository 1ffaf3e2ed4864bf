"""Arguments of each command, declared without slow imports, so that --help is quick."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any, Callable

from lisa_container.addresses import ADDRESS_FORM, PASSWORD_VARIABLE

RUNS = 20
"""Number of runs that `history` lists by default."""

_TARGET = (
    f"the node: '{ADDRESS_FORM}', or 'local' for this machine. Give either this or --runbook. The "
    f"user's password, where one is needed, is taken from {PASSWORD_VARIABLE} or asked for "
    "(--ask-password)"
)
_JSON = "print JSON, for programs"
_LOG = "runtime/log"
_RUN = "a run's id, the beginning of its id, 'last', or 'last-1' for the one before it"


def declare(commands: Any) -> None:
    """Declare all commands.

    Args:
        commands: the subparsers of the command line.
    """
    _declare_ps(commands)
    _declare_reap(commands)
    _declare_faults(commands)
    _declare_enter(commands)
    _declare_history(commands)
    _declare_plan(commands)
    _declare_vm(commands)
    _declare_docs(commands)
    _declare_completion(commands)


def _job(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Return a function that imports a module of this package and calls its function."""

    def run(arguments: argparse.Namespace) -> int:
        found = importlib.import_module(f"lisa_container.cli.{module}")
        # Importing LISA redirects standard output to its log.
        importlib.import_module("lisa.util.logger").uninit_logger()
        return int(getattr(found, function)(arguments))

    return run


def _complete(arguments: argparse.Namespace) -> int:
    module = importlib.import_module("lisa_container.cli.completion")
    return int(module.run(arguments))


def _show_docs(arguments: argparse.Namespace) -> int:
    module = importlib.import_module("lisa_container.cli.docs")
    return int(module.run(arguments))


def _declare_ps(commands: Any) -> None:
    words = "list containers, networks, volumes and images of runs on nodes"
    parser = commands.add_parser("ps", help=words, description=words)
    parser.add_argument("--json", action="store_true", help=_JSON)
    _add_node_arguments(parser)
    parser.set_defaults(run=_job("ps", "run"))


def _declare_reap(commands: Any) -> None:
    words = "remove containers, networks, volumes and images that belong to no living run"
    parser = commands.add_parser("reap", help=words, description=words)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only print what would be removed"
    )
    parser.add_argument("--kept", action="store_true", help="also remove what was kept on purpose")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="remove only this container, network, volume or image: its name, its id or the "
        "beginning of its id, as in 'ps --json'. May be given several times",
    )
    parser.add_argument(
        "--caches",
        action="store_true",
        help="also remove images that were made on the node and serve all runs: tools, builds, "
        "busybox",
    )
    _add_node_arguments(parser)
    parser.set_defaults(run=_job("reap", "run"))


def _declare_faults(commands: Any) -> None:
    words = "list or end the faults that runs have injected on nodes"
    parser = commands.add_parser("faults", help=words, description=words)
    parser.add_argument("--json", action="store_true", help=_JSON)
    parser.add_argument(
        "--end",
        action="append",
        default=[],
        metavar="ID",
        help="end this fault instead; 'all' stands for all of them. May be given several times. "
        "The exit code is 1 if no fault was ended, or one could not be",
    )
    _add_node_arguments(parser)
    parser.set_defaults(run=_job("faults", "run"))


def _declare_enter(commands: Any) -> None:
    words = "open a shell in a container that a run kept, or list these containers"
    parser = commands.add_parser("enter", help=words, description=words)
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="CONTAINER|CASE",
        help="name of the container, or of a case that used it; without a name, list the kept "
        "containers that are still on their nodes",
    )
    _add_log_argument(parser, Path(_LOG))
    parser.set_defaults(run=_job("enter", "run"))


def _declare_completion(commands: Any) -> None:
    words = (
        "print a script for a shell that completes this command's words (see 'lisa-container docs "
        "command_line')"
    )
    parser = commands.add_parser("completion", help=words, description=words)
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")
    parser.set_defaults(run=_complete)


def _declare_docs(commands: Any) -> None:
    words = "show a page of the documentation, or the list of pages"
    parser = commands.add_parser("docs", help=words, description=words)
    parser.add_argument(
        "page",
        nargs="?",
        default="",
        metavar="PAGE",
        help="its name, such as 'config'; without a name, list the pages",
    )
    parser.set_defaults(run=_show_docs)


def _declare_plan(commands: Any) -> None:
    words = "check or run plans: YAML files that test commands (see 'lisa-container docs plans')"
    parser = commands.add_parser("plan", help=words, description=words)
    actions = parser.add_subparsers(dest="action", required=True)
    words = "print all mistakes in plans; exit code 1 if there is one"
    check = actions.add_parser("check", help=words, description=words)
    check.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="path of a plan, in YAML"
    )
    check.add_argument("--json", action="store_true", help=_JSON)
    check.set_defaults(run=_job("plan", "run_check"))
    words = "run a plan on nodes; exit code 1 if a step fails"
    run = actions.add_parser("run", help=words, description=words)
    run.add_argument("file", type=Path, metavar="FILE", help="path of a plan, in YAML")
    run.add_argument(
        "--artifacts", type=Path, metavar="FOLDER", help="folder to copy the plan's artifacts into"
    )
    _add_log_argument(run, Path(_LOG))
    run.add_argument(
        "--start-engine",
        action="store_true",
        help="start or install a container engine on this machine too ('local'), if none answers",
    )
    _add_node_arguments(run)
    run.set_defaults(run=_job("plan", "run_one"))


def _declare_vm(commands: Any) -> None:
    words = "images of virtual machines on this machine, and virtual machines of failed cases"
    parser = commands.add_parser("vm", help=words, description=words)
    actions = parser.add_subparsers(dest="action", required=True)
    words = "make an image of Debian packages or a root file system, and print its name"
    build = actions.add_parser("build", help=words, description=words)
    _add_image_arguments(build)
    build.set_defaults(run=_job("vm", "build"))
    words = "list the images"
    list_ = actions.add_parser("list", help=words, description=words)
    list_.add_argument("--json", action="store_true", help=_JSON)
    list_.set_defaults(run=_job("vm", "list_"))
    words = "remove images, and the templates made of them"
    remove = actions.add_parser("rm", help=words, description=words)
    remove.add_argument("names", nargs="+", metavar="IMAGE", help="name of an image, as listed")
    remove.set_defaults(run=_job("vm", "remove"))
    for action in (build, list_, remove):
        action.add_argument(
            "--cache", default="", metavar="FOLDER", help="folder for images; default: the user's"
        )
    _declare_frozen(actions)


def _declare_frozen(actions: Any) -> None:
    """Declare the actions for frozen virtual machines."""
    words = "list the virtual machines that were frozen when a case failed"
    frozen = actions.add_parser("frozen", help=words, description=words)
    frozen.add_argument("--json", action="store_true", help=_JSON)
    frozen.set_defaults(run=_job("frozen", "list_"))
    words = (
        "open a shell in a copy of a frozen virtual machine, which goes on from the moment when "
        "its case failed; the copy is removed at the end"
    )
    thaw = actions.add_parser("thaw", help=words, description=words)
    _add_case_arguments(thaw)
    thaw.add_argument(
        "-c",
        "--command",
        default="",
        dest="script",
        metavar="COMMAND",
        help="command of root's shell in the virtual machine, to be run instead",
    )
    thaw.set_defaults(run=_job("frozen", "thaw"))
    words = "write the memory of a frozen virtual machine as an ELF core for drgn and crash"
    core = actions.add_parser("core", help=words, description=words)
    _add_case_arguments(core)
    core.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write, which must not exist; default: CASE.core in the present folder",
    )
    core.set_defaults(run=_job("frozen", "core"))
    words = "remove the frozen virtual machines of a case"
    discard = actions.add_parser("discard", help=words, description=words)
    _add_case_arguments(discard)
    discard.set_defaults(run=_job("frozen", "discard"))
    for action in (frozen, thaw, core, discard):
        _add_log_argument(action, Path(_LOG))


def _add_case_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a frozen virtual machine."""
    parser.add_argument("case", metavar="CASE", help="name of the failed case, or of its folder")
    parser.add_argument(
        "--run",
        default="",
        dest="run_id",
        metavar="RUN",
        help="id of the run, or its beginning; default: the last one with such a case",
    )
    parser.add_argument(
        "--vm", default="", metavar="NAME", help="name of the machine, if the case has several"
    )


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what goes into an image."""
    for name, metavar, words in (
        ("--suite", "NAME", "release, such as bookworm; default: this machine's"),
        ("--mirror", "URL", "package mirror; default: this machine's package sources"),
        ("--kernel", "FILE", "kernel, a bzImage; default: the distribution's kernel for clouds"),
        ("--modules", "FOLDER", "modules of that kernel: lib/modules/VERSION"),
        ("--root", "FOLDER", "root file system to use instead of packages"),
        ("--archive", "FILE", "archive of an OCI image to use instead of packages"),
    ):
        parser.add_argument(name, default="", metavar=metavar, help=words)
    for name, destination, metavar, kind, words in (
        ("--package", "packages", "NAME", str, "additional package"),
        ("--key", "keys", "FILE", Path, "public SSH key that may log in"),
        ("--file", "files", "FILE:PATH", str, "file to put into the image, at this path"),
    ):
        parser.add_argument(
            name,
            dest=destination,
            action="append",
            default=[],
            type=kind,
            metavar=metavar,
            help=f"{words}. May be given several times",
        )
    parser.add_argument("--no-docker", action="store_true", help="leave Docker Engine out")
    parser.add_argument(
        "--user", default="tester", help="user who has sudo without a password; default: tester"
    )
    parser.add_argument(
        "--disk-gib", type=int, default=8, metavar="N", help="size of the disk in GiB; default: 8"
    )


def _declare_history(commands: Any) -> None:
    words = "list runs, show one, follow a case over them, compare two"
    parser: argparse.ArgumentParser = commands.add_parser("history", help=words, description=words)
    parser.set_defaults(run=_job("history", "show_runs"))
    _add_history_arguments(parser, is_outer=True)
    questions = parser.add_subparsers(dest="question", metavar="QUESTION")
    for name, words, function in (
        ("runs", "list the last runs (the default)", "show_runs"),
        ("run", "show one run: its cases, containers, tools, files", "show_run"),
        ("case", "follow a case, or a sub-test, over the runs", "show_case"),
        ("diff", "show the differences of two runs", "show_difference"),
        ("prune", "remove the folders of old runs, with all files in them", "prune"),
    ):
        question = questions.add_parser(name, help=words, description=words)
        _add_history_arguments(question, is_outer=False)
        question.set_defaults(run=_job("history", function))
        if name == "run":
            question.add_argument(
                "name", nargs="?", default="last", metavar="RUN", help=f"{_RUN}; default: last"
            )
            question.add_argument(
                "--files", action="store_true", help="also list the files it kept"
            )
        elif name == "case":
            question.add_argument("name", metavar="CASE", help="name of the case or sub-test")
        elif name == "diff":
            question.add_argument(
                "before",
                nargs="?",
                default="last-1",
                metavar="BEFORE",
                help=f"the earlier run: {_RUN}; default: last-1",
            )
            question.add_argument(
                "after",
                nargs="?",
                metavar="AFTER",
                help="the later run, named like BEFORE; default: last",
            )
        elif name == "prune":
            question.add_argument(
                "--older-than",
                required=True,
                metavar="AGE",
                help="age of a run since its end, such as 12h, 30d or 8w",
            )
            question.add_argument(
                "--dry-run", action="store_true", help="only print what would be removed"
            )


def _add_history_arguments(parser: argparse.ArgumentParser, is_outer: bool) -> None:
    # A value before the question must not be replaced by the question's default.
    default: Any = None if is_outer else argparse.SUPPRESS
    _add_log_argument(parser, Path(_LOG) if is_outer else default)
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        default=RUNS if is_outer else default,
        help=f"most runs to show; default: {RUNS}",
    )
    parser.add_argument(
        "--json", action="store_true", default=False if is_outer else default, help=_JSON
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        default=False if is_outer else default,
        help="first make the index of runs anew from their files",
    )


def _add_log_argument(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument(
        "--log",
        type=Path,
        default=default,
        metavar="FOLDER",
        help=f"LISA's log folder (lisa --log_path), with a folder for each run; default: {_LOG}",
    )


def _add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the nodes."""
    parser.add_argument("target", nargs="?", default="", help=_TARGET)
    parser.add_argument(
        "-i", "--identity", type=Path, metavar="FILE", help="private key of the node's user"
    )
    parser.add_argument(
        "--ask-password", action="store_true", help="ask for the password on the terminal"
    )
    parser.add_argument(
        "-r", "--runbook", type=Path, metavar="FILE", help="connect to the nodes of this runbook"
    )
    parser.add_argument(
        "-v",
        "--variable",
        dest="variables",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="set a variable of the runbook, like lisa's -v. May be given several times",
    )
    parser.add_argument("-d", "--debug", action="store_true", help="also show LISA's log")
