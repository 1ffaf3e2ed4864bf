# The node's side of a lease; lease.py of lisa_container tells why. Any POSIX sh, ASCII only.
#
#   arm ID TTL KIND SOCKET RUN RUNNER SINCE   make a lease and start its watcher; then as `leases`
#   watch NEW FOLDER      the watcher: wait for the lease to expire, then remove what is its
#   beat FOLDER           renew the lease for each line of standard input
#   end FOLDER            remove what is left of the lease, and end its watcher
#   reap FOLDER           the same for a lease whose watcher is gone
#   file FOLDER PATH      have a path go with the lease
#   keep ITEM...          except things from all removal, by the engine's id or a volume's name
#   unkeep ITEM...        the opposite
#   leases                tell of all leases here, and of all that is kept
#
# A lease is a folder of mode 700, /run/lisa_container.<id>, or in /tmp for a user who may not write
# to /run: that it is there, everybody can see. In it:
#   state     a value a line: run, runner, since, ttl, kind, socket, pid of the watcher
#   beat      is written anew while the runner lives
#   files     paths that go with the lease; a folder with a slash behind only if it is empty
#   expired   is there once the watcher has begun to remove
set -u
umask 077
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

LABEL=lisa_container.lease
# On all processes of a lease, and on its watcher.
TAG=LISA_CONTAINER_LEASE
WATCHER=LISA_CONTAINER_WATCHER
# Outlives a reboot, as what is kept does. Folders: mkdir follows no link that somebody put there.
KEPT=/var/tmp/lisa_container_kept.

# Looks until giving up while removing: where the engine refuses (somebody else uses it), and where
# it does not answer (half an hour).
REFUSED=30
SILENT=900
# Looks before processes that did not end are killed outright.
POLITE=3

nap() { sleep 0.1 2>/dev/null || sleep 1; }
rest() { sleep 2; }

load() { # FOLDER
    folder=$1 id=${1##*/lisa_container.}
    run='' runner='' since='' ttl='' kind='' socket='' pid=''
    {
        read -r run && read -r runner && read -r since && read -r ttl && read -r kind &&
            read -r socket && read -r pid
    } <"$folder/state" 2>/dev/null || return 1
    if command -v "$kind" >/dev/null; then
        client=$kind
    elif command -v docker >/dev/null; then
        client=docker # it can talk to podman as well
    elif command -v curl >/dev/null; then
        client=curl
    else
        client=none
    fi
}

# --- the engine -----------------------------------------------------------------------------------

limited() {
    if command -v timeout >/dev/null; then timeout 60 "$@"; else "$@"; fi
}

engine() {
    case $client in
    docker) limited docker -H "unix://$socket" "$@" ;;
    podman) limited podman --url "unix://$socket" "$@" ;;
    esac </dev/null 2>/dev/null
}

request() {
    curl -sfg -m 60 --unix-socket "$socket" "$@" </dev/null 2>/dev/null
}

list() { # WHAT
    filter=$LABEL=$id
    case $client.$1 in
    curl.container) found Id "/containers/json?all=1&" ;;
    curl.network) found Id "/networks?" ;;
    curl.volume) found Name "/volumes?" ;;
    curl.image) found Id "/images/json?" ;;
    *.container) engine ps -aq --no-trunc --filter "label=$filter" ;;
    *.network) engine network ls -q --no-trunc --filter "label=$filter" ;;
    *.volume) engine volume ls -q --filter "label=$filter" ;;
    *.image) engine images -q --no-trunc --filter "label=$filter" ;;
    esac
}

found() { # FIELD PATH
    answer=$(request "http://engine$2filters={\"label\":[\"$filter\"]}") || return 1
    echo "$answer" | grep -o "\"$1\":\"[^\"]*\"" | cut -d '"' -f 4
    return 0
}

remove() { # WHAT ITEM
    case $client.$1 in
    curl.container) request -X DELETE "http://engine/containers/$2?force=1&v=1" ;;
    curl.network) request -X DELETE "http://engine/networks/$2" ;;
    curl.volume) request -X DELETE "http://engine/volumes/$2" ;;
    curl.image) request -X DELETE "http://engine/images/$2?force=1" ;;
    *.container) engine rm -f -v "$2" ;;
    *.network) engine network rm "$2" ;;
    *.volume) engine volume rm "$2" ;;
    *.image) engine rmi -f "$2" ;;
    esac >/dev/null
}

# --- removing -------------------------------------------------------------------------------------

clear_engine() { # 0: nothing was there, 1: something was, 2: the engine does not answer
    left=0
    [ "$client" = none ] && return 0
    for what in container network volume image; do
        items=$(list $what) || return 2
        for item in $items; do
            [ -e "$KEPT$item" ] && continue
            left=1
            remove $what "$item"
        done
    done
    return $left
}

clear_processes() { # SIGNAL; 1: there were some
    left=0
    for file in $(grep -l "$TAG=$id" /proc/[0-9]*/environ 2>/dev/null); do
        process=${file#/proc/}
        kill "-$1" "${process%/environ}" 2>/dev/null && left=1
    done
    # A relay that was killed outright leaves its socket.
    for file in /run/lisa_container_*/engine.sock /tmp/lisa_container_*/engine.sock; do
        if [ -O "${file%/*}" ] || [ "$(id -u)" = 0 ]; then
            [ -S "$file" ] && ! grep -q " $file\$" /proc/net/unix && rm -rf "${file%/*}"
        fi
    done
    return $left
}

clear_files() {
    [ -O "$folder" ] && [ -f "$folder/files" ] || return 0
    while read -r file; do
        case $file in
        */) rmdir "$file" 2>/dev/null ;;
        *) rm -rf "$file" ;;
        esac
    done <"$folder/files"
}

clear_all() { # QUIET SILENT PAUSE: looks that find nothing, in a row; unanswered; command
    quiet=0 refused=0 silent=0 looks=0 signal=TERM
    while :; do
        looks=$((looks + 1))
        [ $looks -gt $POLITE ] && signal=KILL
        clear_engine
        status=$?
        clear_processes $signal || [ $status = 2 ] || status=1
        clear_files
        case $status in
        0) quiet=$((quiet + 1)) refused=0 silent=0 ;;
        1) quiet=0 refused=$((refused + 1)) silent=0 ;;
        2) quiet=0 silent=$((silent + 1)) ;;
        esac
        if [ $quiet -ge "$1" ] || [ $refused -ge $REFUSED ]; then return 0; fi
        [ $silent -ge "$2" ] && return 1
        $3
    done
}

# --- the verbs ------------------------------------------------------------------------------------

is_watched() {
    grep -q "$WATCHER=$id" "/proc/$pid/environ" 2>/dev/null
}

arm() { # ID TTL KIND SOCKET RUN RUNNER SINCE
    place=/run
    [ -w /run ] || place=/tmp
    new=$place/.lisa_container.$1 folder=$place/lisa_container.$1
    mkdir "$new" || exit 1
    echo "$script" >"$new/node.sh"
    unset script
    printf '%s\n' "$5" "$6" "$7" "$2" "$3" "$4" >"$new/state"
    echo 0 >"$new/beat"
    : >"$new/files"
    detach=
    command -v setsid >/dev/null && detach=setsid
    (
        cd / || exit
        exec $detach env "$WATCHER=$1" sh "$new/node.sh" watch "$new" "$folder"
    ) </dev/null >/dev/null 2>&1 &
    tries=0
    until [ -d "$folder" ]; do
        tries=$((tries + 1))
        [ $tries -gt 300 ] && exit 1
        nap
    done
    load "$folder"
    printf 'armed\t%s\t%s\n' "$client" "$folder"
}

watch() { # NEW FOLDER
    trap '' HUP
    trap 'kill $!; exit' TERM
    echo $$ >>"$1/state"
    mv "$1" "$2" || exit 1
    load "$2"
    # Its own ticks count, so that no clock can jump. They are few, for a node's battery of leases.
    tick=$((ttl / 10)) silent=0 last=
    [ $tick -ge 1 ] || tick=1
    while [ $silent -lt "$ttl" ]; do
        sleep $tick &
        wait $!
        now=
        { read -r now <"$folder/beat"; } 2>/dev/null
        if [ "$now" = "$last" ]; then silent=$((silent + tick)); else silent=0 last=$now; fi
    done
    : >"$folder/expired"
    # More than one look: the engine may still be creating what it was told to.
    clear_all 4 $SILENT rest && rm -rf "$folder"
}

beat() { # FOLDER
    while read -r line; do
        if [ -e "$1/expired" ] || ! echo "$line" 2>/dev/null >"$1/beat"; then
            echo gone
            exit
        fi
        echo ok
    done
}

end() { # FOLDER
    load "$1" || {
        clear_processes TERM
        return 0
    }
    [ -e "$folder/expired" ] && is_watched && return 0 # it is at it
    # Where this fails the watcher stays, and does it as soon as the engine answers.
    clear_all 1 2 nap || return 1
    if is_watched; then
        kill "$pid"
        tries=0
        while is_watched && [ $tries -lt 300 ]; do tries=$((tries + 1)) && nap; done
    fi
    rm -rf "$folder"
}

reap() { # FOLDER
    load "$1" || return 0
    is_watched && return 0
    clear_all 1 2 nap && rm -rf "$folder"
}

leases() {
    for folder in /run/lisa_container.* /tmp/lisa_container.*; do
        id=${folder##*/lisa_container.}
        case $id in *[!0-9a-f]*) continue ;; esac
        if [ ! -d "$folder" ] || [ -L "$folder" ]; then continue; fi
        state=alive
        if load "$folder"; then
            [ -e "$folder/expired" ] && state=expired
            is_watched || state=dead
        fi # else it is another user's, and he knows
        printf 'lease\t%s\t%s\t%s\t%s\t%s\t%s\n' \
            "$id" $state "$folder" "$run" "$runner" "$since"
    done
    for mark in "$KEPT"*; do
        [ -d "$mark" ] && printf 'kept\t%s\n' "${mark#"$KEPT"}"
    done
    return 0
}

verb=$1
shift
case $verb in
arm) arm "$@" && leases ;;
file) echo "$2" >>"$1/files" ;;
keep) for item; do mkdir -p "$KEPT$item" || exit 1; done ;;
unkeep) for item; do [ -O "$KEPT$item" ] && rmdir "$KEPT$item"; done ;;
*) "$verb" "$@" ;;
esac
