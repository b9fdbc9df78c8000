#!/usr/bin/env bash
# Measures, side by side: the stub server alone, a proxy that decides nothing, Portcullis, and other gateways.
#
#   benches/compare.sh [RUNS]          # each target is measured RUNS times (3), in turn
#   PEERS='mcp-proxy-py fastmcp' benches/compare.sh 1
#
# Prints a line of JSON for each run. Other gateways are installed into $PEERS_DIR; PEERS='' leaves them out.
# Settings: SECONDS_EACH (3), PEERS_DIR (~/.cache/portcullis-tests/peers), PEERS.
# Needs Linux, and for the peers curl, npm and python3 with venv.
#
# Not among the peers, though package registries have them: lasso's `mcp-gateway` and `mcp-remote`, which serve agents
# on stdio alone; `mcp-hub`, which serves them over HTTP+SSE alone; the crate `mcp-gateway`, whose licence is for
# noncommercial use alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=${1:-3}
each=${SECONDS_EACH:-3}
peers_dir=${PEERS_DIR:-$HOME/.cache/portcullis-tests/peers}
peers=${PEERS-mcp-proxy-py mcp-proxy-npm supergateway fastmcp contextforge}
PATH=$HOME/.cache/portcullis-tests/node/bin:$PATH

target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package portcullis --package portcullis-benches
bench=$target/release/portcullis-bench portcullis=$target/release/portcullis
. benches/common.sh

# venv NAME PACKAGE, npm_bin PACKAGE: install what is not there yet.
venv() {
    [ -x "$peers_dir/$1/bin/pip" ] || python3 -m venv "$peers_dir/$1"
    "$peers_dir/$1/bin/pip" show -q "$2" 2>/dev/null || "$peers_dir/$1/bin/pip" install -q "$2"
}
npm_bin() {
    [ -e "$peers_dir/npm/node_modules/.bin/$1" ] ||
        npm install --silent --no-audit --no-fund --prefix "$peers_dir/npm" "$1"
}

names=() urls=() pids=() tools=() headers=()
# target_is NAME PORT PID TOOL [PATH HEADER]
target_is() {
    names+=("$1") urls+=("http://127.0.0.1:$2${5:-/mcp}") pids+=("$3") tools+=("$4")
    headers+=("${6:-accept-language: en}")
    await "$2"
}

start stub "$bench" stub --port 9801 --servers 10; target_is direct 9801 "$pid" echo
start old "$bench" stub --port 9821 --legacy; await 9821
start proxy "$bench" proxy 127.0.0.1:9831 http://127.0.0.1:9801; target_is proxy 9831 "$pid" echo

# gateway NAME PORT FIRST COUNT AUDIT: Portcullis in front of the stubs on COUNT ports from FIRST; AUDIT is whether it
# keeps an audit trail, which has a bar of its own.
gateway() {
    { echo 'version: 1'; echo "audit: { enabled: $5 }"; echo 'servers:'
      for n in $(seq 0 $(($4 - 1))); do echo "  up$n: { url: \"http://127.0.0.1:$(($3 + n))/mcp\" }"; done
    } >"$work/$1.yaml"
    start "$1" "$portcullis" serve --config "$work/$1.yaml" --data-dir "$work/$1" --listen "127.0.0.1:$2"
    target_is "$1" "$2" "$pid" up0__echo
}
gateway portcullis 9832 9801 1 false
gateway portcullis-ten 9833 9801 10 false
gateway portcullis-old 9834 9821 1 false
gateway portcullis-trail 9835 9801 1 true

# contextforge PORT: ContextForge in front of the old stub, with sessions (its faster setting) and without limits.
contextforge() {
    local at=$peers_dir/cf/bin home=$work/contextforge url=http://127.0.0.1:$1 settings token ids server
    venv cf mcp-contextforge-gateway
    mkdir "$home"
    "$at/python" -m mcpgateway.scripts.init_secrets --output "$home/secrets" >/dev/null
    mapfile -t settings < <(grep '^[A-Z_]*=' "$home/secrets")
    settings+=(
        PLATFORM_ADMIN_EMAIL=admin@example.com MCPGATEWAY_ADMIN_API_ENABLED=true MCPGATEWAY_UI_ENABLED=false
        LLMCHAT_ENABLED=false PLUGINS_ENABLED=false LOG_LEVEL=ERROR SSRF_ALLOW_LOCALHOST=true
        SSRF_ALLOW_PRIVATE_NETWORKS=true RATE_LIMITING_ENABLED=false RATE_LIMIT_LOCKOUT_ENABLED=false
        TOOL_RATE_LIMIT=1000000 USE_STATEFUL_SESSIONS=true MCP_SESSION_POOL_ENABLED=true
    )
    start contextforge env -C "$home" "${settings[@]}" "$at/mcpgateway" --host 127.0.0.1 --port "$1"
    await "$1"
    token=$(env "${settings[@]}" "$at/python" -m mcpgateway.utils.create_jwt_token --username admin@example.com \
        --exp 10080 --admin --secret "$(sed -n 's/^JWT_SECRET_KEY=//p' "$home/secrets")" 2>/dev/null | tail -n 1)
    rest() { curl -sSf -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$@"; }
    # read_json EXPRESSION: what that says of the JSON document `it` on standard input.
    read_json() { "$at/python" -c "import json, sys; it = json.load(sys.stdin); print($1)"; }
    rest "$url/gateways" -d '{"name":"stub","url":"http://127.0.0.1:9821/mcp","transport":"STREAMABLEHTTP"}' >/dev/null
    ids=$(rest "$url/tools?limit=100" | read_json 'json.dumps([tool["id"] for tool in it])')
    server=$(rest "$url/servers" -d "{\"server\":{\"name\":\"all\",\"associated_tools\":$ids}}" | read_json 'it["id"]')
    target_is contextforge "$1" "$pid" stub-echo "/servers/$server/mcp/" "Authorization: Bearer $token"
}

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
        contextforge) contextforge 9845 ;;
        *) echo "no such peer: $peer" >&2; exit 2 ;;
    esac
done

measure() { # measure INDEX FLAG...
    local i=$1; shift
    timeout 120 "$bench" load --label "${names[i]}" --url "${urls[i]}" --pid "${pids[i]}" --tool "${tools[i]}" \
        --header "${headers[i]}" --seconds "$each" "$@" || echo "{\"label\":\"${names[i]}\",\"failure\":\"$*\"}"
}

for _ in $(seq "$runs"); do
    for i in "${!names[@]}"; do
        measure "$i"
        case ${names[i]} in
            direct | proxy | portcullis | portcullis-trail) for size in 100 10000 1000000; do measure "$i" --modern --payload "$size"; done ;;
            portcullis-ten) measure "$i" --modern --work list; measure "$i" --work session ;;
        esac
    done
done
