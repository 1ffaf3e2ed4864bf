"""Process that owns a sandbox. Creates the nodes and removes everything after the runner's end.

The keeper is a separate process, because it must survive a SIGKILL of the runner. It starts in
about 50 ms, because this folder imports only the standard library and
`lisa_container.system`. Do not import LISA here.

    service      main loop: read one request, watch the runner, clean up at the end
    spec         the request
    state        sandboxes on this machine, and clean-up after killed keepers
    node         one node: folders, namespaces, readiness
    files        files of a node on top of the shared root file system
    network      switch between the nodes, and the uplink
    forwarding   the machine's own FORWARD chain if it drops packets
    cgroups      a node's subtree in every cgroup hierarchy
    loops        loop devices that a node left attached
    kernel       system calls that Python 3.9 does not have
    commands     run a command of the machine
    boot.sh      first process of a node, until it has its own root
    init.sh      pid 1 of a node after that
"""
