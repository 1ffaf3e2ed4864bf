"""Toolbox for tests of container runtimes and function platforms.

with Workspace(vm) as workspace, no_leaks(vm):
    bundle = workspace.oci_bundle(Path("image.tar"), command=["uname", "-r"])
    print(OciRuntime(workspace, "crun").run(bundle).stdout)

machine        where commands run as root: a LISA node, a VM
workspace      folder of a test on the machine, with all that it makes there
bundle, spec   bundles made of images; `users` finds the user of an image
runtime        runc, crun and others
expect         assertions on addresses, routes, sockets, folders and HTTP answers
leaks          what a test leaves; `snapshot` takes the state before and after
network, http  what a machine reports of its network; requests that it sends
descriptors    passing of open files between machine and container
handlers       HTTP handlers: deploy, invoke, remove; their registry
looks          repeated looks with a time limit
"""

from lisa_container.images.ship.source import Image
from lisa_container.runtimes.bundle import OciBundle
from lisa_container.runtimes.descriptors import DescriptorPassing, ReceivedDescriptor
from lisa_container.runtimes.expect import Expect
from lisa_container.runtimes.handlers import Handler, HandlerHost
from lisa_container.runtimes.http import HttpResponse, send_request, send_requests
from lisa_container.runtimes.leaks import OF_RUNNER, no_leaks
from lisa_container.runtimes.machine import Machine, NodeMachine, machine_of
from lisa_container.runtimes.network import (
    read_addresses,
    read_links,
    read_listeners,
    read_routes,
)
from lisa_container.runtimes.runtime import ContainerState, OciContainer, OciRuntime
from lisa_container.runtimes.snapshot import Kind, NodeSnapshot, take_snapshot
from lisa_container.runtimes.spec import Mount, Network
from lisa_container.runtimes.workspace import RootFileSystem, Workspace

__all__ = [
    "OF_RUNNER",
    "ContainerState",
    "DescriptorPassing",
    "Expect",
    "Handler",
    "HandlerHost",
    "HttpResponse",
    "Image",
    "Kind",
    "Machine",
    "Mount",
    "Network",
    "NodeMachine",
    "NodeSnapshot",
    "OciBundle",
    "OciContainer",
    "OciRuntime",
    "ReceivedDescriptor",
    "RootFileSystem",
    "Workspace",
    "machine_of",
    "no_leaks",
    "read_addresses",
    "read_links",
    "read_listeners",
    "read_routes",
    "send_request",
    "send_requests",
    "take_snapshot",
]
