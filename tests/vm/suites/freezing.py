"""Cases that fail on a VM, which is frozen then."""

from __future__ import annotations

import shlex

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import ContainerExecutor, container_test

# Two processes add to a counter without a lock, so that some of what they add is lost. A third one
# looks at the counter all the time; what it saw is in its memory alone, until a signal asks for it.
RACE = r"""
sub counter { open my $f, "<", "/dev/shm/counter" or return 0; my $n = <$f>; $n // 0 }
sub add { my $n = counter(); open my $f, ">", "/dev/shm/counter"; print $f $n + 1 }
for (1 .. 2) { next if fork; add() for 1 .. 1000; exit }
my @seen;
$SIG{USR1} = sub {
    open my $f, ">", "/dev/shm/new"; print $f "@seen\n"; close $f;
    rename "/dev/shm/new", "/dev/shm/seen";
};
my $ended = 0;
while ($ended < 2) {
    push @seen, counter();
    $ended++ if waitpid(-1, 1) > 0;
}
open my $f, ">", "/dev/shm/pid.new"; print $f $$; close $f;
rename "/dev/shm/pid.new", "/dev/shm/pid";
sleep 1 while 1;
"""


@TestSuiteMetadata(area="tests", category="functional", description="Fails on a VM.")
class Freezing(TestSuite):
    @TestCaseMetadata(description="fails by a race", priority=0)
    def verify_counter(self, node: Node) -> None:
        start = f"setsid perl -e {shlex.quote(RACE)} >/tmp/race.log 2>&1 </dev/null &"
        wait = "until [ -e /dev/shm/pid ]; do sleep 0.1; done; cat /dev/shm/counter"
        counter = node.execute(f"{start} {wait}", shell=True, timeout=60).stdout
        assert_that(counter).is_equal_to("2000")

    def after_case(self, log: object, node: Node, **kwargs: object) -> None:
        node.execute("rm -f /dev/shm/*", shell=True)

    @TestCaseMetadata(description="runs on the same node, which was not kept", priority=1)
    def verify_later(self, node: Node) -> None:
        assert_that(node.execute("test -e /tmp/race.log").exit_code).is_equal_to(0)

    @TestCaseMetadata(description="fails in a container", priority=1)
    @container_test(image="lisa_container/busybox", scope="case")
    def verify_container(self, container: ContainerExecutor) -> None:
        container.run("echo from the case >/said; exit 7", expected_exit_code=0)
