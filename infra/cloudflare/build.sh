#!/usr/bin/env bash
# Builds the Worker into edge-worker/build: index.js and index_bg.wasm, which edge-worker/shim.mjs imports.
#
#   bash infra/cloudflare/build.sh
#
# Makes the toolchain where it is missing (infra/wasm-toolchain.sh); no other program has to be installed. `wrangler`
# runs it before `dev` and `deploy`. Nothing is built twice.
#
# Settings: those of infra/wasm-toolchain.sh; CARGO_TARGET_DIR; FEATURES=control for a Worker that is a control plane too,
# or is governed by one; OUT, another folder than edge-worker/build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-$PWD/target}
out=${OUT:-$PWD/edge-worker/build}

# With the ordinary toolchain, and in a folder of its own.
CARGO_TARGET_DIR=$target/bindgen cargo build --quiet --locked --manifest-path infra/cloudflare/bindgen/Cargo.toml

# With the toolchain for wasm, which may be another one: so a target folder of its own.
exports=$(bash infra/wasm-toolchain.sh)
eval "$exports"
# Where the crates lie on this machine is of no use in what is deployed, and would make it larger.
RUSTFLAGS=${RUSTFLAGS:-}
for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    RUSTFLAGS="$RUSTFLAGS --remap-path-prefix=$source="
done
export RUSTFLAGS
# Half of the usual stack, whose end traps: addresses of what lies behind it are shorter then. An eighth was enough for all scenarios that were tried on it.
CARGO_TARGET_DIR=$target/wasm-core cargo rustc --quiet --locked --profile edge --package portcullis-edge --lib \
    --features "${FEATURES:-}" \
    --target wasm32-unknown-unknown -- -C link-arg=-zstack-size="${STACK:-524288}"

wasm=$target/wasm-core/wasm32-unknown-unknown/edge/portcullis_edge.wasm
stamp=$(sha256sum "$wasm" "$target/bindgen/debug/portcullis-bindgen" edge-worker/src/host/*.js | sha256sum)
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

rm -rf "$out"; mkdir -p "$out"
"$target/bindgen/debug/portcullis-bindgen" "$wasm" "$out"
printf '%s\n' "$stamp" > "$out/.stamp"
printf 'build: %s bytes of WebAssembly, %s compressed\n' "$(wc -c < "$out/index_bg.wasm")" \
    "$(gzip -9 < "$out/index_bg.wasm" | wc -c)" >&2
