"""Context that carries from step to step, in the shells that images have."""

from __future__ import annotations

from typing import Callable

import pytest

from tests.support.plans import Run

pytestmark = pytest.mark.usefixtures("debian_image")

# sh is ash in the one, dash in the other.

SHELLS = {
    "ash": "container: {image: lisa_container/busybox}",
    "dash": "container: {image: lisa_container/debian}",
    "bash": "container: {image: lisa_container/debian}\nshell: bash",
}


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> str:
    return SHELLS[request.param]


def test_carries(shell: str, run: Run) -> None:
    text = r"""
    files:
      /srv/first/data: here
    steps:
      - name: changes
        run: |
          cd /srv/first
          export PLAIN=1 EMPTY= ODD="it's \"odd\" \$HOME
          and long" NAMED=cäse
          own=not-exported
          echo made > made
      - name: seen
        run: |
          pwd; cat data made; echo
          printf '%s|' "$PLAIN" "${EMPTY-unset}" "$ODD" "$NAMED" "${own-unset}"
        expect:
          stdout: |
            /srv/first
            heremade

            1||it's "odd" $HOME
            and long|cäse|unset|
      - name: as words
        run: [sh, -c, 'echo "$PLAIN $PWD"; cd /; export PLAIN=2']
        expect: {stdout: 1 /srv/first}
      - name: as a script
        script: |
          #!/bin/sh
          echo "$PLAIN $PWD"
          cd /
        expect: {stdout: 1 /srv/first}
      - name: fails as it should
        run: export AFTER=failure; cd ..; exit 3
        exit_code: 3
      - name: set -e
        run: |
          set -eu
          export MORE=$AFTER
          false
          export MORE=no
        exit_code: 1
      - name: set -e carried
        run: echo "$PWD $AFTER $MORE"
        expect: {stdout: /srv failure failure}
      - name: a trap of its own
        run: trap 'echo trapped' EXIT; cd /etc
        expect: {stdout: trapped}
      - name: a path without programs
        run: export PATH=/nowhere
      - name: found again
        run: export PATH=/usr/bin:/bin; pwd
        expect: {stdout: /etc}
      - name: not a program's end
        run: if
        exit_code: 2
        expect: {stderr: {matches: "(?i)syntax error"}}
      - name: traced
        run: set -x; cd /tmp
        expect: {stderr: {matches: '^\++ cd /tmp$', not_contains: lisa_container}}
      - name: last
        run: echo "$PWD $PLAIN $ODD"
        expect: {stdout: {contains: "/tmp 1 it's"}}
    """
    result = run(f"{shell}\n{_dedent(text)}")
    assert result.passed, [step.message for step in result.failed]
    assert len(result.steps) == 13


def _dedent(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines())


def test_unset(shell: str, run: Run) -> None:
    """A step can unset a variable of the container, and a later one can set it."""
    container, _, rest = shell.partition("\n")
    container = container.replace("}", ", environment: {GIVEN: by container}}")
    text = """
    steps:
      - {name: given, run: 'echo $GIVEN', expect: {stdout: by container}}
      - {name: unset, run: unset GIVEN}
      - {name: in the shell, run: 'echo ${GIVEN-gone}', expect: {stdout: gone}}
      - {name: in a program, run: [env], expect: {stdout: {not_contains: GIVEN}}}
      - {name: again, run: 'echo ${GIVEN-gone}', environment: {GIVEN: x}, expect: {stdout: x}}
      - {name: gone still, run: 'echo ${GIVEN-gone}', expect: {stdout: gone}}
      - {name: back, run: export GIVEN=back}
      - {name: is back, run: [env], expect: {stdout: {contains: GIVEN=back}}}
    """
    result = run(f"{container}\n{rest}\n{_dedent(text)}")
    assert result.passed, [step.message for step in result.failed]


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "A", "ZZZ"])
def test_empty_variable_of_the_container(shell: str, run: Run, name: str) -> None:
    """An empty variable of the container does not end the list of variables."""
    container, _, rest = shell.partition("\n")
    container = container.replace("}", f", environment: {{{name}: ''}}}}")
    text = """
    steps:
      - {name: first, run: 'true'}
      - {name: another user, run: 'echo $HOME', user: nobody, expect: {stdout: {not_contains: root}}}
      - {name: exported, run: 'export V=1 W='}
      - {name: seen, run: 'echo "$V ${W-unset} ${NAME-unset}."', expect: {stdout: '1  .'}}
      - {name: undone, run: unset V NAME}
      - {name: gone, run: 'echo "${V-unset} ${W-unset} ${NAME-unset}"', expect: {stdout: unset  unset}}
    """.replace("NAME", name)
    result = run(f"{container}\n{rest}\n{_dedent(text)}")
    assert result.passed, [step.message for step in result.failed]


def test_of_a_step_alone(run: Run) -> None:
    """A step's own `cwd` and `environment` end with it, also if it changes them."""
    result = run("""
    steps:
      - {name: before, run: cd /bin; export A=1}
      - name: own
        cwd: /etc
        environment: {A: 2, B: 3}
        run: echo $PWD $A $B; cd /tmp; export A=4 B=5 C=6
        expect: {stdout: /etc 2 3}
      - {name: after, run: 'echo $PWD $A $B $C', expect: {stdout: /bin 1 6}}
    """)
    assert result.passed, [step.message for step in result.failed]


def test_users(run: Run) -> None:
    """Users have homes of their own and share exported variables."""
    result = run("""
    container: {image: lisa_container/debian}
    steps:
      - {name: root, run: 'echo $HOME; export A=1; cd /tmp', expect: {stdout: /root}}
      - name: nobody
        user: nobody
        run: 'id -un; echo $HOME $A; pwd; export B=2'
        expect: {stdout: {not_contains: root, contains: [nobody, " 1", /tmp]}}
      - name: a script
        user: nobody
        script: 'id -un; echo $A $B; pwd'
        expect: {stdout: "nobody\\n1 2\\n/tmp"}
      - {name: root again, run: 'echo $HOME $B', expect: {stdout: /root 2}}
    """)
    assert result.passed, [step.message for step in result.failed]


def test_steps_that_do_not_carry(run: Run) -> None:
    """A step that is killed, or replaces its shell, does not change the context."""
    result = run("""
    steps:
      - {name: first, run: cd /bin; export A=1}
      - {name: replaced, run: cd /tmp; export A=2; exec true}
      - {name: killed, run: 'cd /tmp; export A=2; kill -9 $$', signal: KILL}
      - {name: in a folder that goes, run: mkdir /tmp/x; cd /tmp/x; rmdir /tmp/x; export A=3}
      - {name: seen, run: 'echo $PWD $A', expect: {stdout: /bin 3}}
    """)
    assert result.passed, [step.message for step in result.failed]


def test_keeps_secrets(run: Run, logged: Callable[[], str]) -> None:
    """The environment is in no log and on no command line.

    The container's memory has it for a moment only, readable by the step's user alone.
    """
    result = run("""
    container: {image: lisa_container/busybox, environment: {SECRET: very-hidden}}
    setup: [{name: export, run: export COPY="$SECRET again"}]
    steps:
      - {name: script, script: '[ "$COPY" = "$SECRET again" ]'}
      - {name: look, run: [ls, -A, /dev/shm], expect: {stdout: ""}}
      - name: command lines
        run: cat /proc/[0-9]*/cmdline
        expect: {stdout: {contains: cat, not_contains: hidden}}
      - {name: ends, run: exit 3, exit_code: 3}
      - parallel: [{name: in a group, run: '[ "$COPY" ]'}]
      - {name: unset, run: unset COPY}
      - {name: fails, run: ['false']}
    cleanup: [{name: look again, run: [ls, -A, /dev/shm], expect: {stdout: ""}}]
    """)
    assert [step.name for step in result.failed] == ["fails"], [x.message for x in result.failed]
    said = logged()
    assert "step 'unset': passed" in said and "unset COPY" in said
    assert "hidden" not in said


def test_file_of_another_user(run: Run) -> None:
    """A file's name is on no command line before the file exists."""
    result = run(r"""
    container: {image: lisa_container/debian}
    files:
      /srv/watch: |
        while sleep 0.02; do
            : >/tmp/looked
            for name in $(cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep '^/dev/shm/.'); do
                # After its end a script's name is free.
                case $seen in *"$name"*) continue ;; esac
                seen="$seen $name"
                mkdir "$name" && echo "took $name" >>/tmp/taken
            done
        done
    setup:
      - name: watch
        user: nobody
        run: setsid sh /srv/watch </dev/null >/dev/null 2>&1 &
    steps:
      - {name: first, run: sleep 1; cd /srv; export A=1}
      - {name: seen, run: 'echo $PWD $A', expect: {stdout: /srv 1}}
      - {name: script, script: 'sleep 2; echo $A', expect: {stdout: "1"}}
      - {name: taken, run: cat /tmp/taken; exit 0, expect: {stdout: ""}}
      - name: it still watches
        run: rm -f /tmp/looked; until [ -e /tmp/looked ]; do sleep 0.05; done
        timeout: 30
    """)
    assert result.passed, [step.message for step in result.failed]


def test_isolated(run: Run) -> None:
    """An isolated step gets only the plan's own files, and leaves nothing to the plan."""
    result = run("""
    files: {/srv/file: of the plan}
    steps:
      - {name: before, run: cd /srv; export A=1; echo changed > file; hostname > /tmp/name}
      - name: alone
        isolated: true
        run: cat /srv/file; echo " $PWD ${A-unset}"; echo own > /srv/file; export A=2; cd /bin
        expect:
          stdout: "of the plan / unset"
          files: {/srv/file: own, /tmp/name: {exists: false}}
      - name: after
        run: cat /srv/file; echo $PWD $A
        expect: {stdout: "changed\\n/srv 1"}
    """)
    assert result.passed, [step.message for step in result.failed]
