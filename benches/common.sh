# What the measuring scripts share: a folder for what they write, what runs meanwhile, and waiting for it. Source it with
# the repository's top as the current folder.

work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# start NAME COMMAND...: runs it in the background; its process id is then in $pid.
start() { local name=$1; shift; "$@" >"$work/$name.log" 2>&1 & pid=$!; started+=("$pid"); }

# await PORT: waits until something listens there.
await() {
    local _
    for _ in $(seq 600); do (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done
    echo "nothing listens on port $1" >&2
    return 1
}
