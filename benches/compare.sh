#!/usr/bin/env bash
# Measures, side by side: the stub server alone, a proxy that decides nothing, Portcullis, and other gateways.
#
#   benches/compare.sh [RUNS]          # each target is measured RUNS times (3), in turn
#   PEERS='mcp-proxy-py fastmcp' benches/compare.sh 1
#
# Prints a line of JSON for each run. Other gateways are installed into $PEERS_DIR; PEERS='' leaves them out.
# Settings: SECONDS_EACH (3), PEERS_DIR (~/.cache/portcullis-tests/peers), PEERS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=${1:-3}
each=${SECONDS_EACH:-3}
peers_dir=${PEERS_DIR:-$HOME/.cache/portcullis-tests/peers}
peers=${PEERS-mcp-proxy-py mcp-proxy-npm supergateway fastmcp}
PATH=$HOME/.cache/portcullis-tests/node/bin:$PATH

target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package portcullis --package portcullis-benches
bench=$target/release/portcullis-bench portcullis=$target/release/portcullis
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

# venv NAME PACKAGE, npm_bin PACKAGE: install what is not there yet.
venv() {
    [ -x "$peers_dir/$1/bin/pip" ] || python3 -m venv "$peers_dir/$1"
    "$peers_dir/$1/bin/pip" show -q "$2" 2>/dev/null || "$peers_dir/$1/bin/pip" install -q "$2"
}
npm_bin() {
    [ -e "$peers_dir/npm/node_modules/.bin/$1" ] ||
        npm install --silent --no-audit --no-fund --prefix "$peers_dir/npm" "$1"
}

names=() urls=() pids=() tools=()
target_is() { names+=("$1"); urls+=("http://127.0.0.1:$2/mcp"); pids+=("$3"); tools+=("$4"); await "$2"; }

start stub "$bench" stub --port 9801 --servers 10; target_is direct 9801 "$pid" echo
start old "$bench" stub --port 9821 --legacy; await 9821
start proxy "$bench" proxy 127.0.0.1:9831 http://127.0.0.1:9801; target_is proxy 9831 "$pid" echo

# gateway NAME PORT FIRST COUNT: Portcullis in front of the stubs on COUNT ports from FIRST.
gateway() {
    { echo 'version: 1'; echo 'servers:'
      for n in $(seq 0 $(($4 - 1))); do echo "  up$n: { url: \"http://127.0.0.1:$(($3 + n))/mcp\" }"; done
    } >"$work/$1.yaml"
    start "$1" "$portcullis" serve --config "$work/$1.yaml" --data-dir "$work/$1" --listen "127.0.0.1:$2"
    target_is "$1" "$2" "$pid" up0__echo
}
gateway portcullis 9832 9801 1
gateway portcullis-ten 9833 9801 10
gateway portcullis-old 9834 9821 1

stdio=("$bench" stub --stdio)
for peer in $peers; do
    case $peer in
        mcp-proxy-py)
            venv mp mcp-proxy
            start "$peer" "$peers_dir/mp/bin/mcp-proxy" --host 127.0.0.1 --port 9841 --log-level ERROR -- "${stdio[@]}"
            target_is "$peer" 9841 "$pid" echo ;;
        mcp-proxy-npm)
            npm_bin mcp-proxy
            start "$peer" "$peers_dir/npm/node_modules/.bin/mcp-proxy" --host 127.0.0.1 --port 9842 -- "${stdio[@]}"
            target_is "$peer" 9842 "$pid" echo ;;
        supergateway)
            npm_bin supergateway
            start "$peer" "$peers_dir/npm/node_modules/.bin/supergateway" --stdio "${stdio[*]}" \
                --outputTransport streamableHttp --stateful --port 9843 --logLevel none
            target_is "$peer" 9843 "$pid" echo ;;
        fastmcp)
            venv fm fastmcp
            start "$peer" "$peers_dir/fm/bin/python" -c "from fastmcp.server import create_proxy
create_proxy('http://127.0.0.1:9821/mcp', name='p').run(transport='http', host='127.0.0.1', port=9844)"
            target_is "$peer" 9844 "$pid" echo ;;
        *) echo "no such peer: $peer" >&2; exit 2 ;;
    esac
done

measure() { # measure INDEX FLAG...
    local i=$1; shift
    timeout 120 "$bench" load --label "${names[i]}" --url "${urls[i]}" --pid "${pids[i]}" --tool "${tools[i]}" \
        --seconds "$each" "$@" || echo "{\"label\":\"${names[i]}\",\"failure\":\"$*\"}"
}

for _ in $(seq "$runs"); do
    for i in "${!names[@]}"; do
        measure "$i"
        case ${names[i]} in
            direct | proxy | portcullis) for size in 100 10000 1000000; do measure "$i" --modern --payload "$size"; done ;;
            portcullis-ten) measure "$i" --modern --work list; measure "$i" --work session ;;
        esac
    done
done
