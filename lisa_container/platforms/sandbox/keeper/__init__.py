"""The process that owns a sandbox: makes its nodes, and undoes everything when the runner is gone.

It is a process of its own, because whoever cleans up must survive the runner's SIGKILL. It starts
in some 50 ms, because nothing in this folder imports anything but the standard library; in
particular nothing imports LISA. Keep it so.

    service      the loop: one request, the runner's death watched, all undone at the end
    spec         that request
    state        which sandboxes are on this machine, and what the dead ones left behind
    node         one node: its folders, its namespaces, ready or not
    files        what a node's root file system gets on top of the common one
    network      the switch between the nodes, and the way out
    forwarding   the machine's own FORWARD chain, where it is closed
    cgroups      a node's subtree in every cgroup hierarchy of the machine
    loops        loop devices that a node left behind
    kernel       the few system calls that Python 3.9 has no name for
    commands     running a command of the machine
    boot.sh      first process of a node, until it has its own root
    init.sh      pid 1 of a node from then on
"""
