# Part of node.sh: the engine, and the removal of what a lease has.

# --- the engine -----------------------------------------------------------------------------------

find_client() { # sets client, by kind
    client=none
    if command -v "$kind" >/dev/null; then
        client=$kind
    elif command -v docker >/dev/null; then
        client=docker # it works with podman too
    elif command -v curl >/dev/null; then
        client=curl
    fi
}

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
    curl.container) query Id "/containers/json?all=1&" ;;
    curl.network) query Id "/networks?" ;;
    curl.volume) query Name "/volumes?" ;;
    curl.image) query Id "/images/json?" ;;
    *.container) engine ps -aq --no-trunc --filter "label=$filter" ;;
    *.network) engine network ls -q --no-trunc --filter "label=$filter" ;;
    *.volume) engine volume ls -q --filter "label=$filter" ;;
    *.image) engine images -q --no-trunc --filter "label=$filter" ;;
    esac
}

query() { # FIELD PATH
    answer=$(request "http://engine$2filters={\"label\":[\"$filter\"]}") || return 1
    field "$1" "$answer"
}

# Quotes in JSON strings are escaped, so a match is a field.
field() { # NAME JSON
    echo "$2" | grep -o "\"$1\":\"[^\"]*\"" | cut -d '"' -f 4
}

label() { # IMAGE LABEL: print its value; fail if the image does not exist
    case $client in
    curl)
        answer=$(request "http://engine/images/$1/json") || return 1
        field "$2" "$answer" | head -n 1
        ;;
    *)
        engine inspect --type image -f \
            "{{with .Config}}{{with .Labels}}{{index . \"$2\"}}{{end}}{{end}}" "$1"
        ;;
    esac
}

image_and_mark() { # CONTAINER
    case $client in
    curl)
        url="http://engine/containers/json?all=1&filters={\"id\":[\"$1\"]}"
        answer=$(request "$url") || return 1
        echo "$(field ImageID "$answer" | head -n 1) $(field $MARK "$answer" | head -n 1)"
        ;;
    *)
        engine inspect --type container -f \
            "{{.Image}} {{with .Config.Labels}}{{index . \"$MARK\"}}{{end}}" "$1"
        ;;
    esac
}

names_of() { # IMAGE
    case $client in
    curl)
        answer=$(request "http://engine/images/$1/json") || return 1
        echo "$answer" | grep -o '"RepoTags":\[[^]]*]' | head -n 1 | cut -d '[' -f 2 |
            grep -o '"[^"]*"' | tr -d '"'
        ;;
    *) engine inspect --type image -f '{{range .RepoTags}}{{println .}}{{end}}' "$1" ;;
    esac
}

# A resource may have inherited the label from an image: one made of our container, or labelled by
# another user. docs/lease.md has the rules; report.py follows them too.
removable_names() { # WHAT ITEM: print the names to remove it by, none if not ours; 2: no answer
    case $1 in
    container)
        both=$(image_and_mark "$2") && its=$(label "${both%% *}" $MARK) || {
            list container >/dev/null || return 2
            return 0 # the container or its image is gone, so nothing can be compared
        }
        mark=${both#* }
        if [ "$mark" ] && [ "$mark" != "$its" ]; then echo "$2"; fi
        ;;
    image)
        token=$(label "$2" $MARK) && name=$(label "$2" $NAME) && names=$(names_of "$2") || return 0
        has_mark "made.$id.${2#sha256:}" || { is_item "$token" && has_mark "made.$id.$token"; } ||
            return 0
        [ "$names" ] || echo "$2"
        for each in $names; do
            case $each in
            "$name" | "localhost/$name" | "docker.io/$name" | "docker.io/library/$name")
                echo "$each"
                ;;
            esac
        done
        ;;
    *) echo "$2" ;;
    esac
}

remove() { # WHAT ITEM
    case $client.$1 in
    curl.container) request -X DELETE "http://engine/containers/$2?force=1&v=1" ;;
    curl.network) request -X DELETE "http://engine/networks/$2" ;;
    curl.volume) request -X DELETE "http://engine/volumes/$2" ;;
    curl.image) request -X DELETE "http://engine/images/$2" ;;
    *.container) engine rm -f -v "$2" ;;
    *.network) engine network rm "$2" ;;
    *.volume) engine volume rm "$2" ;;
    *.image) engine rmi "$2" ;; # with force, podman would remove other users' containers too
    esac >/dev/null
}

# --- removing -------------------------------------------------------------------------------------

is_kept() { # ITEM
    has_mark "kept.$1"
    [ $? != 1 ]
}

clear_engine() { # 0: nothing was left, 1: something was, 2: the engine does not answer
    left=0
    [ "$client" = none ] && return 0
    for what in container network volume image; do
        items=$(list $what) || return 2
        for item in $items; do
            case $foreign in *" $item "*) continue ;; esac
            is_kept "$item" && continue
            own=$(removable_names $what "$item") || return 2
            [ "$own" ] || foreign="$foreign$item "
            for name in $own; do
                left=1
                remove $what "$name"
            done
        done
    done
    return $left
}

clear_processes() { # SIGNAL; 1: some were left
    left=0
    for file in $(grep -l "$TAG=$id" /proc/[0-9]*/environ 2>/dev/null); do
        process=${file#/proc/}
        kill "-$1" "${process%/environ}" 2>/dev/null && left=1
    done
    # A relay that was killed leaves its socket.
    for file in /run/lisa_container_*/engine.sock /tmp/lisa_container_*/engine.sock; do
        if [ ! -L "${file%/*}" ] && { [ -O "${file%/*}" ] || [ "$me" = 0 ]; }; then
            [ -S "$file" ] && ! grep -q " $file\$" /proc/net/unix && rm -rf "${file%/*}"
        fi
    done
    return $left
}

end_fault() { # FILE: run a script of this folder; done once it succeeds
    [ -f "$1" ] || return 0
    (. "./$1") </dev/null >/dev/null 2>&1 && rm -f "$1"
}

clear_faults() { # 1: some were left
    left=0
    for file in fault.*; do
        end_fault "$file" || left=1
    done
    return $left
}

clear_files() {
    [ -f files ] || return 0
    while read -r file; do
        case $file in
        */) rmdir "$file" 2>/dev/null ;;
        *) rm -rf "$file" ;;
        esac
    done <files
}

clear_marks() { # of images that are gone
    [ "$client" != none ] && items=$(list image) || return 0
    for mark in $(list_folders "${MARKS}made.$id.*" "$me"); do
        item=${mark#"${MARKS}made.$id."}
        item=${item%.*}
        case $items in *"$item"*) [ "$(removable_names image "$item")" ] && continue ;; esac
        unmark "made.$id.$item"
    done
}

clear_folder() {
    cd / && rm -rf "$folder"
}

clear_all() { # QUIET SILENT PAUSE: rounds in a row with nothing left, without answer; pause command
    quiet=0 refused=0 silent=0 rounds=0 signal=TERM foreign=' '
    while :; do
        rounds=$((rounds + 1))
        [ $rounds -gt $POLITE ] && signal=KILL
        # First, since a fault may keep the engine from answering.
        clear_faults
        calm=$?
        clear_engine
        status=$?
        [ $status = 2 ] || [ $calm = 0 ] || status=1
        clear_processes $signal || [ $status = 2 ] || status=1
        clear_files
        case $status in
        0) quiet=$((quiet + 1)) refused=0 silent=0 ;;
        1) quiet=0 refused=$((refused + 1)) silent=0 ;;
        2) quiet=0 silent=$((silent + 1)) ;;
        esac
        if [ $quiet -ge "$1" ] || [ $refused -ge $REFUSED ]; then
            clear_marks
            return 0
        fi
        [ $silent -ge "$2" ] && return 1
        $3
    done
}
