# Program of a workspace on the machine under test: prepares its folder, and removes all of it.
#
#     workspace.sh open FOLDER RUNNER BOOT   start the watcher, and remove workspaces of dead runners
#     workspace.sh close FOLDER              end the watcher, and remove the workspace
#     workspace.sh watch FOLDER PID START    wait for the end of a process, then remove the workspace
#
# The watcher holds the lock of the folder as long as the runner is connected.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
POLL_SECONDS=2

# Print the fields of /proc/PID/stat after the name: the state first, then the parent.
stat_of() {
    IFS= read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    echo "${line##*) }"
}

# Print when a process was started, in ticks after the boot; nothing if it has ended.
start_of() {
    set -- $(stat_of "$1")
    [ "$1" = Z ] || echo "${20}"
}

# Print the process that ends with the connection of the runner: the sshd of the login, the runner
# itself on its own machine, or the first process of a container's shell.
login_of() {
    pid=$$ runner=$1 boot=$2
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || runner=
    while :; do
        name=$(cat "/proc/$pid/comm")
        case $name in sshd*) break ;; esac
        [ "$pid" = "$runner" ] && break
        set -- $(stat_of "$pid")
        [ "$2" -gt 1 ] || break
        pid=$2
    done
    echo "$pid"
}

# Remove what a workspace has on the machine.
clean() {
    gone=$1
    for state in "$gone"/runtimes/*/state; do
        [ -d "$state" ] || continue
        program=$(cat "${state%/state}/program")
        for container in "$state"/*; do
            [ -d "$container" ] && "$program" --root "$state" delete --force "${container##*/}"
        done
    done
    for undo in "$gone"/undo/*; do
        [ -f "$undo" ] && sh "$undo"
    done
    # The innermost mounts first.
    while read -r _ _ _ _ point _; do
        case $point in "$gone"/*) echo "$point" ;; esac
    done </proc/self/mountinfo | sort -r | while IFS= read -r point; do
        umount "$point" || umount -l "$point"
    done
    rm -rf --one-file-system "$gone"
    rmdir "${gone%/*}" 2>/dev/null
    [ ! -e "$gone" ]
}

case $1 in
open)
    folder=$2
    for other in "${folder%/*}"/*; do
        # `watching` comes after the lock is held: without it, another runner is just beginning.
        [ -f "$other/watching" ] && flock -n "$other/lock" true && clean "$other" >/dev/null 2>&1
    done
    mkdir -p "$folder/images" "$folder/bundles" "$folder/runtimes" "$folder/undo" "$folder/bin" || exit
    login=$(login_of "$3" "$4")
    setsid flock "$folder/lock" sh "$folder/workspace.sh" watch "$folder" "$login" "$(start_of "$login")" \
        </dev/null >/dev/null 2>&1 &
    echo $! >"$folder/watcher"
    tries=0
    until [ -s "$folder/watching" ]; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || { echo 'the watcher did not start'; exit 1; }
        sleep 0.05
    done
    ;;
watch)
    echo $$ >"$2/watching"
    while [ "$(start_of "$3")" = "$4" ]; do sleep "$POLL_SECONDS"; done
    clean "$2"
    ;;
close)
    # The process group, so that the watcher's `sleep` ends too.
    kill -s KILL -- "-$(cat "$2/watcher")" 2>/dev/null
    clean "$2"
    ;;
esac
