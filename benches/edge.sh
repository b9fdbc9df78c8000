#!/usr/bin/env bash
# Measures the Worker: its size, what starting it costs, what a call costs beside a proxy of a few lines, and what it
# holds in memory while it passes on 50 MiB.
#
#   benches/edge.sh [RUNS]             # what takes time is measured RUNS times (3), in turn
#
# Installs nothing: Node, wrangler and workerd are those that tests/setup.sh has put into the tests' cache. The Worker
# runs in plain workerd, bound to its objects, to no store, and to a queue that takes everything, in a process of its own.
# Settings: SECONDS_EACH (5), STARTS (15), those of infra/cloudflare/build.sh. Needs Linux, curl and gzip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=${1:-3} each=${SECONDS_EACH:-5} starts=${STARTS:-15}
cache=$(bash tests/setup.sh --where)
export PATH=$cache/node/bin:$PATH
edge=$cache/edge/node_modules
workerd=$(find "$edge"/@cloudflare/workerd-*/bin -name workerd | head -n 1)
[ -x "$workerd" ] || { echo 'there is no workerd: run tests/setup.sh' >&2; exit 1; }

target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --package portcullis-benches
bench=$target/release/portcullis-bench
. benches/common.sh

# cpu PID: the processor time of its threads in microseconds.
cpu() { cat "/proc/$1"/task/*/schedstat | awk '{ n += $1 } END { printf "%d\n", n / 1000 }'; }

# memory PID FIELD: in MiB.
memory() { awk -v field="$2:" '$1 == field { printf "%.0f\n", $2 / 1024 }' "/proc/$1/status"; }

# middle: of numbers, one a line.
middle() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# --- Size ------------------------------------------------------------------------------------------
CI=1 WRANGLER_SEND_METRICS=false WRANGLER_SEND_ERROR_REPORTS=false WRANGLER_LOG_PATH=$work/logs XDG_CONFIG_HOME=$work \
    node "$edge/wrangler/bin/wrangler.js" deploy --dry-run --outdir "$work/bundle" >"$work/size.log" 2>&1 ||
    { cat "$work/size.log" >&2; exit 1; }
grep 'Total Upload' "$work/size.log"
wasm=$(basename "$work"/bundle/*.wasm)

# --- workerd ---------------------------------------------------------------------------------------
cat >"$work/proxy.js" <<'JS'
export default {
  fetch: (request, env) => fetch(env.UPSTREAM, { method: request.method, headers: request.headers, body: request.body }),
};
JS
cat >"$work/silent.js" <<'JS'
export default { fetch: () => new Response('here') };
JS
cat >"$work/loaded.js" <<'JS'
export * from './shim.js';
export default { fetch: () => new Response('here') };
JS
cat >"$work/importing.js" <<'JS'
export default { fetch: async ({ url }) => { if (url.endsWith('/import')) await import('./shim.js'); return new Response('here'); } };
JS
cat >"$work/queue.js" <<'JS'
export default { fetch: async (request) => { await request.arrayBuffer(); return Response.json({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 } } }); } };
JS

modules="(name = \"shim.js\", esModule = embed \"bundle/shim.js\"),
    (name = \"$wasm\", wasm = embed \"bundle/$wasm\")"
classes='(className = "Conversations", uniqueKey = "conversations", enableSql = true),
    (className = "Counts", uniqueKey = "counts", enableSql = true),
    (className = "Trail", uniqueKey = "trail", enableSql = true),
    (className = "Upstreams", uniqueKey = "upstreams", enableSql = true),
    (className = "Configurations", uniqueKey = "configurations", enableSql = true)'
configuration='{\"version\":1,\"servers\":{\"up\":{\"url\":\"http://127.0.0.1:9851/mcp\"},\"large\":{\"url\":\"http://127.0.0.1:9852/mcp\"}}}'
bindings="(name = \"PORTCULLIS_CONFIG\", text = \"$configuration\"), (name = \"PORTCULLIS_INSECURE\", text = \"1\"),
    (name = \"PORTCULLIS_SEAL_KEY\", text = \"$(head -c 32 /dev/zero | tr '\0' k | base64)\"),
    (name = \"CONVERSATIONS\", durableObjectNamespace = \"Conversations\"),
    (name = \"COUNTS\", durableObjectNamespace = \"Counts\"), (name = \"TRAIL\", durableObjectNamespace = \"Trail\"),
    (name = \"UPSTREAMS\", durableObjectNamespace = \"Upstreams\"), (name = \"ENTRIES\", queue = \"queue\")"

# worker NAME PORT MODULES [BINDINGS CLASSES]: writes what workerd serves.
worker() {
    mkdir -p "$work/$1"
    cat >"$work/$1.capnp" <<CAPNP
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main), (name = "queue", external = (address = "127.0.0.1:9853", http = ())),
    (name = "disk", disk = (path = "$work/$1", writable = true)),
    (name = "internet", network = (allow = ["public", "private", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:$2", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [$3],
  compatibilityDate = "2026-10-01", compatibilityFlags = ["enable_request_signal"],
  bindings = [${4:-}],
  durableObjectNamespaces = [${5:-}], durableObjectStorage = (localDisk = "disk"),
);
CAPNP
}
serve() { start "$1" "$workerd" serve "$work/$1.capnp"; }

worker gateway 9861 "$modules" "$bindings" "$classes"
for port in 51 52; do
    worker "proxy$port" "98$((port + 11))" '(name = "proxy.js", esModule = embed "proxy.js")' \
        "(name = \"UPSTREAM\", text = \"http://127.0.0.1:98$port/mcp\")"
done
worker queue 9853 '(name = "queue.js", esModule = embed "queue.js")'
worker silent 9864 '(name = "silent.js", esModule = embed "silent.js")'
worker loaded 9865 "(name = \"loaded.js\", esModule = embed \"loaded.js\"), $modules" '' "$classes"

worker importing 9866 "(name = \"importing.js\", esModule = embed \"importing.js\"), $modules"

# --- Start -----------------------------------------------------------------------------------------
# start_cost NAME PORT: the processor time from spawn to the first answer.
start_cost() {
    serve "$1"; await "$2"
    curl -s "http://127.0.0.1:$2/" >/dev/null
    cpu "$pid"
    kill "$pid"; wait "$pid" 2>/dev/null || true
}
# scope_cost: the same for evaluating the global scope alone, in a process that has compiled the modules and has answered:
# what `wrangler check startup` makes a profile of.
scope_cost() {
    local before
    serve importing; await 9866
    curl -s http://127.0.0.1:9866/ http://127.0.0.1:9866/ >/dev/null
    before=$(cpu "$pid")
    curl -sf http://127.0.0.1:9866/import >/dev/null
    echo $(($(cpu "$pid") - before))
    kill "$pid"; wait "$pid" 2>/dev/null || true
}
for _ in $(seq "$starts"); do
    scope_cost >>"$work/scope.us"
    start_cost silent 9864 >>"$work/silent.us"
    start_cost loaded 9865 >>"$work/loaded.us"
done
echo "start: $(middle <"$work/silent.us") µs without the bundle, $(middle <"$work/loaded.us") µs with it; $(middle <"$work/scope.us") µs for the global scope"

# --- Calls -----------------------------------------------------------------------------------------
mebibytes=50
start stub "$bench" stub --port 9851; stub=$pid
start large "$bench" stub --port 9852 --result $((mebibytes << 20))
serve queue
serve gateway; gateway=$pid
serve proxy51; proxy=$pid
serve proxy52; large=$pid
for port in 9851 9852 9853 9861 9862 9863; do await "$port"; done

measure() { # measure LABEL PORT PID TOOL FLAG...
    local label=$1 port=$2 pid=$3 tool=$4; shift 4
    "$bench" load --modern --label "$label" --url "http://127.0.0.1:$port/mcp" --pid "$pid" --tool "$tool" "$@"
}
for _ in $(seq "$runs"); do
    for workers in 1 8; do
        measure direct 9851 "$stub" echo --concurrency "$workers" --seconds "$each"
        measure proxy 9862 "$proxy" echo --concurrency "$workers" --seconds "$each"
        measure worker 9861 "$gateway" up__echo --concurrency "$workers" --seconds "$each"
    done
done

# --- Memory ----------------------------------------------------------------------------------------
kill "$gateway"; wait "$gateway" 2>/dev/null || true
serve gateway; gateway=$pid; await 9861

# fetch_large LABEL PORT PID TOOL [RATE]: reads one result, no faster than RATE.
fetch_large() {
    local before after answer
    local meta='{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}'
    before=$(memory "$3" VmRSS)
    echo 5 >"/proc/$3/clear_refs"                   # the peak begins anew
    answer=$(curl -s --limit-rate "${5:-1G}" "http://127.0.0.1:$2/mcp" -H 'Content-Type: application/json' \
        -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2026-07-28' \
        -H 'Mcp-Method: tools/call' -H "Mcp-Name: $4" -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"'"$4"'","arguments":{"message":"x"},"_meta":'"$meta"'}}' | wc -c)
    after=$(memory "$3" VmHWM)
    echo "$1${5:+, read at ${5}B/s}: $answer bytes; $before MiB before, $after MiB at most, $(memory "$3" VmRSS) MiB after"
}
for rate in '' '' '' '' 25M 25M; do
    fetch_large proxy 9863 "$large" echo $rate
    fetch_large worker 9861 "$gateway" large__echo $rate
done

# What it needs, rather than what it takes where there is plenty: the heap of JavaScript is bounded, in MiB.
heap=16
kill "$gateway"; wait "$gateway" 2>/dev/null || true
sed "s/:Workerd.Config = (/& v8Flags = [\"--max-heap-size=$heap\"],/" "$work/gateway.capnp" >"$work/bounded.capnp"
serve bounded; gateway=$pid; await 9861
for _ in 1 2 3 4; do fetch_large "worker with $heap MiB of heap" 9861 "$gateway" large__echo; done
