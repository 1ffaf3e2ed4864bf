# The node's side of a lease, see lease.py of lisa_container. Any POSIX sh, ASCII only. The functions
# of node_engine.sh stand before it.
#
#   arm ID TTL KIND SOCKET RUN RUNNER SINCE   make a lease, start its watcher, then list `leases`
#   watch FOLDER          the watcher: wait until the lease expires, then remove its resources
#   beat FOLDER WAY       renew the lease for each line of standard input; restart a dead watcher.
#                         The way is `ssh` or `local`
#   condition FOLDER KIND SOCKET   print the node's boot, and what has become of the lease
#   end FOLDER            remove the lease's resources, and end its watcher
#   reap FOLDER           remove the resources of a dead lease
#   file FOLDER PATH      add a path that is removed with the lease
#   folder FOLDER PARENT  make a private folder that is removed with the lease; print its path
#   fault FOLDER NAME UNDO   store the script that ends a fault, which runs at the lease's end at the latest
#   calm FOLDER NAME      run that script now, and forget it if it succeeds
#   faults                list the faults of the leases of this user
#   keep ITEM...          exclude resources from all removal, by the engine's id or a volume's name
#   making ID TOKEN       list an image of the lease that is being made, and the lease's parts of images
#   made ID ITEM TOKEN    list it by the engine's id instead
#   unmark NAME...        remove marks of this user
#   leases                list the leases and marks of this user and of root
#   foreign UID ID...     as root: list another user's marks, and those of these leases that exist
#
# A lease is a folder of mode 700: for root /run/lisa_container.<id>, where only root may write; for
# another user /tmp/lisa_container.<id>.<ttl>.<random>, made by mktemp. Nothing in it is read, run or
# trusted before its owner was checked, see `enter`. Its files:
#   node.sh   this program
#   state     lines: run, runner, since, ttl, kind, socket, then pids of watchers (the last counts)
#   beat      is written again and again while the runner lives
#   link.*    for each process that runs `beat`, by its pid: both ports of its SSH connection
#   files     paths that are removed with the lease; one with a slash at the end only if it is empty
#   fault.*   scripts that end faults; they may use the functions of node_engine.sh
#   expired   exists once the removal has begun
set -u
umask 077
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

LABEL=lisa_container.lease
# Label with a unique value on each container; inherited by images made of it and their containers.
# On an image, it is the token by which the image is listed while it is made; on parts, the lease's id.
MARK=lisa_container.container
# Label on images of a run: the name that the run gave them.
NAME=lisa_container.name
# Environment variables of all processes of a lease, and of its watcher.
TAG=LISA_CONTAINER_LEASE
WATCHER=LISA_CONTAINER_WATCHER
# Prefix of marks: `kept.<item>` of a kept resource; `made.<lease>.<id or token>` lists a lease's image.
# They are folders, so that each has an owner to check, and they outlive a reboot.
MARKS=/var/tmp/lisa_container_
me=$(id -u)

# Rounds of removal after which to give up: if the engine refuses (a resource is in use), and if it
# does not answer (half an hour).
REFUSED=30
SILENT=900
# Rounds before processes that did not end are killed.
POLITE=3

# TTLs of silence after which a lease expires even if its connection is open, or its node is so busy
# that the watcher hardly runs.
MOST=4
# In /proc/net/tcp: an established connection, its queues and timers, and no retransmission.
ANSWERED='01 [0-9A-F]*:[0-9A-F]* [0-9A-F]*:[0-9A-F]* 00000000'
# Seconds after the node's boot in which a living run may take its lease up again.
REVIVAL=120

nap() { sleep 0.1 2>/dev/null || sleep 1; }
rest() { sleep 2; }

is_id() { # WORD: 16 hex digits
    [ ${#1} = 16 ] || return 1
    case $1 in *[!0-9a-f]*) return 1 ;; esac
}

is_number() { # WORD
    [ ${#1} -le 9 ] || return 1
    case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac
}

id_of() { # FOLDER; sets id
    id=${1##*/lisa_container.}
    id=${id%%.*}
    is_id "$id"
}

# After cd, no other folder can replace this one.
enter() { # FOLDER: a lease of this user
    folder=$1
    id_of "$folder" && cd "$folder" 2>/dev/null && [ -O . ] || return 1
    case $(ls -ld .) in drwx--[-S]---*) ;; *) return 1 ;; esac
}

load() { # read the state of the lease in this folder
    run='' runner='' since='' ttl='' kind='' socket='' pid=''
    [ -f state ] || return 1
    {
        read -r run && read -r runner && read -r since && read -r ttl && read -r kind &&
            read -r socket && read -r pid || return 1
        while read -r next; do pid=$next; done
    } <state 2>/dev/null
    is_number "$ttl" && is_number "$pid" || return 1
    case $kind in docker | podman) ;; *) return 1 ;; esac
    case $socket in /*) ;; *) return 1 ;; esac
    find_client
}

# --- the verbs ------------------------------------------------------------------------------------

is_watched() { # a pid may have become another user's
    [ -O "/proc/$pid" ] && grep -q "$WATCHER=$id" "/proc/$pid/environ" 2>/dev/null
}

is_recent() { # FILE TTL: whether it was written within the TTL
    written=$(stat -c %Y "$1" 2>/dev/null) && [ $(($(date +%s) - written)) -le "$2" ]
}

# A run also renews a lease whose watcher died.
is_alive() {
    [ ! -e expired ] && { is_watched || is_recent beat "$ttl" || may_revive; }
}

may_revive() { # whether the node was booted just now, after the last renewal
    booted && [ "$age" -lt $REVIVAL ] && written=$(stat -c %Y beat 2>/dev/null) &&
        [ "$written" -lt $(($(date +%s) - age)) ]
}

booted() { # sets boot, which is different after each boot, and age: seconds since the boot
    boot='' up='' stat='' age=0
    { read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
    # The first process began with the boot, also where the node shares its kernel with others.
    { read -r up stat </proc/uptime && read -r stat </proc/1/stat; } 2>/dev/null || return 1
    set -- ${stat##*) }
    [ $# -ge 20 ] || return 1
    boot=$boot.${20} age=$((${up%%.*} - ${20} / $(getconf CLK_TCK 2>/dev/null || echo 100)))
}

start_watcher() {
    detach=
    command -v setsid >/dev/null && detach=setsid
    (
        unset "$TAG" # else the watcher would kill itself
        exec $detach env "$WATCHER=$id" sh ./node.sh watch "$folder"
    ) </dev/null >/dev/null 2>&1 &
    tries=0
    until load && is_watched; do
        tries=$((tries + 1))
        [ $tries -gt 300 ] && return 1
        nap
    done
}

arm() { # ID TTL KIND SOCKET RUN RUNNER SINCE
    if [ "$me" = 0 ] && [ -w /run ]; then
        new=/run/lisa_container.$1
        mkdir "$new" || exit 1
    else
        new=$(mktemp -d "/tmp/lisa_container.$1.$2.XXXXXXXX") || exit 1
    fi
    enter "$new" || exit 1
    printf '%s\n' "$script" >node.sh
    unset script
    printf '%s\n' "$5" "$6" "$7" "$2" "$3" "$4" >state
    echo 0 >beat
    : >files
    start_watcher || exit 1
    booted
    printf 'armed\t%s\t%s\t%s\t%s\n' "$client" "$folder" "$me" "$boot"
}

watch() { # FOLDER
    trap '' HUP
    trap 'kill $!; exit' TERM
    enter "$1" || exit 1
    echo $$ >>state
    load || exit 1
    # Count ticks, since a clock can jump. Only few, since a node may have many leases.
    tick=$((ttl / 10)) last=
    [ $tick -ge 1 ] || tick=1
    silent=0 waited=0 deaf=0
    # A lost packet alone does not make a connection deaf, so look twice.
    while [ $silent -lt "$ttl" ] || { hears && [ $deaf -lt 2 ]; }; do
        [ $waited -lt $((ttl * MOST)) ] || break
        read -r before now </proc/uptime
        sleep $tick &
        wait $!
        load && [ "$pid" = $$ ] || exit # the lease ended, or another watcher was started
        now=
        { read -r now <beat; } 2>/dev/null
        if [ "$now" != "$last" ]; then
            silent=0 waited=0 deaf=0 last=$now
            continue
        fi
        # Where a tick takes long, the node is too busy to renew the lease, too.
        read -r after now </proc/uptime
        waited=$((waited + tick))
        [ $((${after%%.*} - ${before%%.*})) -gt $((tick + 1)) ] || silent=$((silent + tick))
    done
    : >expired
    # Several rounds, since the engine may still be creating a resource.
    clear_all 4 $SILENT rest && clear_folder
}

# Whether a connection of the run is open. If the runner is killed, its connections close at once.
# If the network is cut they do not, but what `ping` sends is not acknowledged. Sets deaf.
hears() {
    deaf=$((deaf + 1)) status=1
    for file in link.*; do
        process=/proc/${file#link.}
        [ -O "$process" ] && grep -q "$TAG=$id" "$process/environ" 2>/dev/null || continue
        status=0
        ports=
        read -r ports <"$file"
        [ "$ports" ] && ! grep -q "$ports $ANSWERED " /proc/net/tcp /proc/net/tcp6 2>/dev/null ||
            deaf=0
    done
    return $status
}

ports_of_login() { # print a pattern of this SSH connection for /proc/net/tcp
    process=$$
    until [ "$process" -le 1 ]; do # sudo removes the variable
        login=$(tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p')
        [ "$login" ] && break
        read -r stat <"/proc/$process/stat" || return 1
        set -- ${stat##*) }
        process=$2
    done
    set -- $login # the client's address and port, the node's address and port
    [ $# = 4 ] && printf ':%04X [0-9A-F]*:%04X\n' "$4" "$2"
}

ping() { # SECONDS: write to the runner, whose machine acknowledges it
    trap 'kill $!; exit' TERM
    while :; do
        sleep "$1" &
        wait $!
        echo here
    done
}

beat() { # FOLDER WAY
    enter "$1" && load || {
        echo gone
        exit
    }
    ping $((ttl / 5 + 1)) &
    pinger=$!
    trap 'rm -f "link.$$"; kill $pinger' EXIT
    ports=
    [ "$2" = ssh ] && ports=$(ports_of_login 2>/dev/null)
    echo "$ports" >"link.$$"
    while read -r line; do
        if [ -e expired ] || ! echo "$line" 2>/dev/null >beat; then
            echo gone
            exit
        fi
        echo "ok $line" # before the rest, which takes long on a busy node
        { load && is_watched; } || start_watcher
    done
}

# `lost`: without its folder, but its containers are there, as after a reboot. `gone`: all is.
condition() { # FOLDER KIND SOCKET
    booted
    printf '%s\n' "$boot"
    if enter "$1"; then
        if [ -e expired ]; then echo expired; else echo alive; fi
        return
    fi
    id_of "$1" && kind=$2 socket=$3 && find_client && items=$(list container) || {
        echo unknown
        return
    }
    for item in $items; do
        is_kept "$item" || [ ! "$(removable_names container "$item")" ] || {
            echo lost
            return
        }
    done
    echo gone
}

end() { # FOLDER
    enter "$1" && load || {
        id_of "$1" && clear_processes TERM
        return 0
    }
    [ -e expired ] && is_watched && return 0 # the watcher is removing everything
    # If this fails, the watcher goes on and removes everything once the engine answers.
    clear_all 1 2 nap || return 1
    if is_watched; then
        kill "$pid"
        tries=0
        while is_watched && [ $tries -lt 300 ]; do tries=$((tries + 1)) && nap; done
    fi
    clear_folder
}

reap() { # FOLDER
    enter "$1" || return 0
    if load; then
        is_alive && return 0
        is_watched && return 0 # the watcher is removing everything
        : >expired
        clear_all 1 2 nap || return 1
    elif is_recent . 60; then
        return 0 # another process is making it
    fi
    clear_folder
}

# Print the private folders of some users. Strangers may make thousands of the same name, and remove
# them meanwhile: so neither by `find` in the parent, which then fails, nor on one command line. An
# incomplete list would be dangerous.
list_folders() { # PATTERN UIDS: such as `0|1000`
    [ -r "${1%/*}" ] || return 1
    found=$(
        for path in $1; do
            case $path in *[!A-Za-z0-9_.:/-]*) ;; *) echo "$path" ;; esac
        done | xargs stat -c '%u %a %F %n' 2>/dev/null
    )
    case $? in 0 | 123) ;; *) return 1 ;; esac # 123: some have vanished
    echo "$found" | sed -nE "s/^($2) 2?700 directory //p"
}

list_marks() { # UID
    marks=$(list_folders "${MARKS}*.*" "$1") || return 1
    for mark in $marks; do
        mark=${mark#"$MARKS"}
        printf 'mark\t%s\t%s\n' "$1" "${mark%.*}"
    done
}

leases() {
    printf 'me\t%s\n' "$me"
    booted && [ "$age" -lt $REVIVAL ] && echo booted
    folders=$(
        list_folders '/run/lisa_container.*' "0|$me" && list_folders '/tmp/lisa_container.*' "0|$me"
    ) || return 1
    for folder in $folders; do
        id_of "$folder" || continue
        (
            uid=0 state=alive run='' runner='' since=''
            if enter "$folder"; then
                uid=$me state=dead
                if load; then
                    if is_alive; then
                        state=alive
                    elif is_watched; then
                        state=expired
                    fi
                elif is_recent . 60; then
                    state=alive # another process is making it
                fi
            fi # else it is root's, and counts as alive
            printf 'lease\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
                "$id" $state "$folder" "$run" "$runner" "$since" "$uid"
        )
    done
    list_marks 0 || return 1
    [ "$me" = 0 ] || list_marks "$me" || return 1
    echo end # without it, the list is incomplete, and nothing may be judged by it
}

# Never open anything in another user's folder: that could block, or follow a link.
foreign() { # UID ID...
    uid=$1
    shift
    if is_number "$uid"; then
        list_marks "$uid" || return 1
        for id; do
            is_id "$id" || continue
            folders=$(list_folders "/tmp/lisa_container.$id.*" "$uid") || return 1
            for folder in $folders; do
                ttl=${folder#*/lisa_container.*.}
                ttl=${ttl%%.*}
                state=expired
                if is_number "$ttl" && is_recent "$folder/beat" "$ttl" ||
                    has_watcher "$uid" "$id"; then
                    state=alive
                fi
                printf 'lease\t%s\t%s\t%s\t\t\t\t%s\n' "$id" $state "$folder" "$uid"
            done
        done
    fi
    echo end
}

has_watcher() { # UID ID: whether this user has a watcher for this lease
    for file in $(grep -l "$WATCHER=$2" /proc/[0-9]*/environ 2>/dev/null); do
        [ "$(find "${file%/environ}" -prune -user "$1" 2>/dev/null)" ] && return 0
    done
    return 1
}

is_item() { # WORD: an engine's id or name
    case $1 in '' | *[!A-Za-z0-9_.:-]*) return 1 ;; esac
}

has_mark() { # NAME: whether this user or root has such a mark; 2: not known
    marks=$(list_folders "$MARKS$1.????????" "0|$me") || return 2
    [ "$marks" ]
}

mark() { # NAME
    is_item "$1" && mktemp -d "$MARKS$1.XXXXXXXX" >/dev/null
}

keep() { # ITEM...
    for item; do
        has_mark "kept.$item" || mark "kept.$item" || return 1
    done
}

making() { # ID TOKEN
    has_mark "made.$1.$1" || mark "made.$1.$1"
    [ "$2" = "$1" ] || mark "made.$1.$2"
}

made() { # ID ITEM TOKEN
    mark "made.$1.$2" && unmark "made.$1.$3"
}

unmark() { # NAME...
    for word; do
        is_item "$word" || continue
        for mark in "$MARKS$word".????????; do
            if [ -O "$mark" ] && [ ! -L "$mark" ]; then rmdir "$mark"; fi
        done
    done
}

file() { # FOLDER PATH
    enter "$1" && echo "$2" >>files
}

fault() { # FOLDER NAME UNDO
    is_item "$2" && enter "$1" && [ ! -e expired ] && printf '%s\n' "$3" >"new.$2" &&
        mv "new.$2" "fault.$2" && echo stored
}

calm() { # FOLDER NAME
    is_item "$2" && enter "$1" && load && end_fault "fault.$2" && echo calm
}

faults() { # the first line of a script is a comment that describes its fault
    folders=$(
        list_folders '/run/lisa_container.*' "$me" && list_folders '/tmp/lisa_container.*' "$me"
    ) || return 1
    for folder in $folders; do
        (
            enter "$folder" || exit
            for file in fault.*; do
                [ -f "$file" ] && read -r line <"$file" &&
                    printf 'fault\t%s\t%s\t%s\n' "${file#fault.}" "$folder" "${line#\# }"
            done
        )
    done
    echo end # without it, the list is incomplete
}

folder() { # FOLDER PARENT
    enter "$1" && made=$(mktemp -d "$2/lisa_container.XXXXXXXXXX") && echo "$made" >>files &&
        echo "$made"
}

verb=$1
shift
case $verb in
arm) arm "$@" && leases ;;
*) "$verb" "$@" ;;
esac
