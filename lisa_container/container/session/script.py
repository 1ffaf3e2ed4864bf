"""Program of the resident shell and its workers.

Descriptors. Descriptor 3 takes the worker's pid past its output. 4 and 5 are the real stdout and
stderr, because a shell reports a killed command on its own stderr.

Worker. The worker is no background job, because a shell makes those ignore SIGINT. Traps keep it
alive when its command signals the group; a child does not inherit traps. The worker itself reads
its first request, which tells it the token. Its child reads later ones, and returns a request that
the worker must run by SIGURG, which nothing else sends. At the end of stdin, when the runner is
gone, the reader ends the shell and the worker. So it does at a line that is no request: that is
what an interactive command has not read of its input. The number in the token shows the difference.
The reader prints no message when it does so. Without a runner, writing one would end the reader
alone by SIGPIPE, and the worker would start a new reader again and again.

Processes that a command left. Each descendant inherits a mark, whatever it does to groups, sessions
and parents: the soft limit RLIMIT_LOCKS, which Linux ignores since 2.4.25 (setrlimit(2)). Its value
is the session's number followed by the worker's pid. `ulimit` sets it with `-w` in dash, and with
`-x` in bash and busybox. A process can change its limit, as PAM does for `su`. So a younger process
is also one that the command left if it can write to the real stdout or stderr, 1 and 5 here: its
flags (proc(5), fdinfo) end with 1 or 2. `__o PID` returns whether a process lives (a zombie does
not) and is in the worker's group, has the mark or can write. `__n=2` means that a younger process
may be the command's: the kernel has no such limits (gVisor), or does not show its descriptors, as
those of another user. `__b` and `__e` are the pids of the newest process before and after the
command. If they do not differ, the kernel does not report them (gVisor), and all younger processes
are checked. Processes that start during the check are checked, too: a process may end after it has
made another.

Memory. `__h` sets `__z` to the number of kills that the kernel has counted at the container's
memory limit, with a blank before it. The first mark and the last one have this number. `__j` is the
kernel's file; without a limit, it is empty.

setsid gets the path of sh: for the mere name, that of some busybox runs its own ash.

SHLVL, PWD and OLDPWD are unset, because they would show the command that a shell was here before.
bash sends itself the SIGINT that its command died of; the trap survives it.
"""

from __future__ import annotations

# Functions: whether a process is one that the command left; kills at the memory limit.
FUNCTIONS = r"""
__o() {
__i=$1
read -r __s <"/proc/$__i/stat" || return 1
set -- ${__s##*) }
case $1 in Z|X|"") return 1 ;; esac
[ "$3" != "$__p" ] || return 0
[ ! "$__u" ] || { [ "$__i" -le "$__p" ] || __n=2; return 1; }
while read -r __s __f __g __v __w; do
case $__f$__g in filelocks) [ "$__v" != "$__x" ] || return 0; break ;; esac
done <"/proc/$__i/limits"
[ "$__i" -gt "$__p" ] && [ "$__i" != $$ ] || return 1
[ -e "/proc/$__i/ns/pid" ] || [ ! -e "/proc/$__i" ] || __n=2
for __f in "/proc/$__i/fd/"*; do
[ "$__f" -ef /proc/self/fd/1 ] || [ "$__f" -ef /proc/self/fd/5 ] || continue
{ read -r __g && read -r __g __g; } <"/proc/$__i/fdinfo/${__f##*/}"
case $__g in *[12]) return 0 ;; esac
done
return 1
}
__h() {
__z=
[ "$__j" ] || return 0
while read -r __f __z; do
[ "$__f" != oom_kill ] || { __z=" $__z"; return 0; }
done <"$__j"
__z=
}
"""

# Lines of the shell that read the runner's greeting, and find the file of `__h`: version 2, then 1.
GREET = r"""
read -r __t __y __j
[ ! "$__j" ] || for __j in memory.events memory/memory.oom_control ""; do
[ ! "$__j" ] || __j=/sys/fs/cgroup/$__j
[ ! -r "$__j" ] || break
done
"""

# Line that ends a shell whose `ulimit` cannot mark processes (posh), where the kernel can.
CHECK_MARK = r"""
[ ! -r /proc/self/limits ] || { ulimit -w || ulimit -x; } >/dev/null 2>&1 || exit 97
"""

# Lines of the shell that set `__n` to 1 if the command left a process.
FIND_LEFT = r"""
read -r __e __e __e __e __e </proc/loadavg
__n=0 __x=$__y$__p
if [ "$__e" -gt "$__b" ] && [ "$__e" -lt $((__b + 99)) ]; then
while [ $__b -lt $__e ]; do
__b=$((__b + 1))
if [ -e /proc/$__b ] && __o $__b; then
__n=1
break
fi
[ $__b != $__e ] || read -r __e __e __e __e __e </proc/loadavg
done
else
for __k in 1 2 3; do
for __i in /proc/[0-9]*; do
__i=${__i#/proc/}
[ $__i -ge $__p ] || [ "$__e" -lt "$__b" ] || continue
if __o $__i; then
__n=1
break 2
fi
done
read -r __d __d __d __d __d </proc/loadavg
[ "$__d" != "$__e" ] || break
__e=$__d
done
fi
"""

_WORKER = (
    r"""
unset lisa_container_worker
echo $$ >&3
exec 3>&- 5>&2 2>/dev/null
__p=$$ __x=$1$$ __y=$1 __j=$2 __n=0 __m= __k= __u=
set --
{ ulimit -Sw $__x || ulimit -Sx $__x; } && [ -r /proc/self/limits ] || __u=1
while read -r __t || kill -9 $PPID $$; do
case $__t in ?$__y*\?) echo "$__t" ;; ?$__y*) break ;; *) kill -9 $PPID $$ ;; esac
done
case $__t in *+) __t=${__t%+} ;; *) __m=1 ;; esac
trap : HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM
trap __m=1 URG
"""
    + FUNCTIONS
    + r"""
while [ ! "$__m" ]; do
read -r __b __b __b __b __b </proc/loadavg
(exec 2>&5 5>&-
while [ "$__k" ]; do
read -r __l || kill -9 $PPID $$ 2>/dev/null
case $__l in "$__t?") echo "$__l" ;; "$__t+") break ;; *) kill -URG $$; exit ;; esac
done
__s=
while IFS= read -r __l || { kill -9 $PPID $$ 2>/dev/null; exit; }; do
[ "$__l" != "$__t" ] || break
__s=$__s$__l"
"
done
__h
echo "$__t>$$$__z"
exec </dev/null
eval "unset __b __c __e __f __g __i __j __k __l __m __n __p __s __t __u __v __w __x __y __z
$__s")
__c=$?
[ ! "$__m" ] || break
__k=1
read -r __e __e __e __e __e </proc/loadavg
[ "$__e" -gt "$__b" ] && [ "$__e" -lt $((__b + 99)) ] || exit $__c
while [ $__b != $__e ]; do
__b=$((__b + 1))
[ ! -e /proc/$__b ] || { ! __o $__b && [ $__n = 0 ]; } || exit $__c
[ $__b != $__e ] || read -r __e __e __e __e __e </proc/loadavg
[ $__e -ge $__b ] || exit $__c
done
echo "$__t-" >&5
__h
echo "$__t-$__c 0$__z"
done
trap - HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM URG
__s=
while IFS= read -r __l || kill -9 $PPID $$; do
[ "$__l" != "$__t" ] || break
__s=$__s$__l"
"
done
exec 2>&5 5>&-
__h
echo "$__t>$$$__z"
eval "unset __b __c __e __f __g __i __j __k __l __m __n __p __s __t __u __v __w __x __y __z
$__s"
"""
)

_SHELL = (
    r"""
command -v setsid >/dev/null || exit 97
unset SHLVL OLDPWD lisa_container_shell
trap : INT
export lisa_container_worker='"""
    + _WORKER
    + r"""'
exec 4>&1 5>&2 2>/dev/null
"""
    + CHECK_MARK
    + FUNCTIONS
    + GREET
    + r"""
__u= __a=$(command -v sh)
{ ulimit -Sw ${__y}0 || ulimit -Sx ${__y}0; } && [ -r /proc/self/limits ] || __u=1
while :; do
read -r __b __b __b __b __b </proc/loadavg
__p=$(exec setsid "$__a" -c 'eval "$lisa_container_worker"' sh $__y $__j 3>&1 >&4 2>&5 4>&- 5>&-)
__c=$?
"""
    + FIND_LEFT
    + r"""
printf "%s-\n" "$__t" >&5
__h
printf "%s-%s %s\n" "$__t" $__c "$__n$__z"
done
"""
)

# Command line and environment of the shell. A list of processes shows only the command line, so
# that is short. ksh and zsh add variables to the environment of each command, and ksh93 cannot even
# parse the script.
SHELL_TEXT = '[ -z "${KSH_VERSION-}${ZSH_VERSION-}" ] || exit 97; eval "$lisa_container_shell"'
SHELL = ["sh", "-c", SHELL_TEXT]
SHELL_ENVIRONMENT = {"lisa_container_shell": _SHELL}
