#!/usr/bin/env bash
# Builds the function's package, infra/aws/build/portcullis.zip: a zip with `bootstrap` and nothing else.
#
#   bash infra/aws/build.sh                  # for arm64, as infra/sam and infra/terraform want it by default
#   bash infra/aws/build.sh --arch x86_64
#
# On a machine of the same architecture this needs cargo only. For the other one it takes `cargo lambda`, or a C compiler
# and rustc's standard library for that target; where neither is there it says what to install. Nothing is built twice, and
# the same program gives the same zip.
#
# Settings: CARGO_TARGET_DIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The most bytes of the package: a larger one takes longer to start.
most=8000000
# The newest glibc symbols that the runtime provided.al2023 has.
glibc=34

say() { printf 'infra/aws/build: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { say 'usage: bash infra/aws/build.sh [--arch arm64|x86_64]'; exit 2; }

arch=arm64
while [ $# -gt 0 ]; do
    case $1 in
        --arch) [ $# -ge 2 ] || usage; arch=$2; shift 2 ;;
        *) usage ;;
    esac
done
case $arch in
    arm64) machine=aarch64 ;;
    x86_64) machine=x86_64 ;;
    *) usage ;;
esac
command -v cargo >/dev/null || die 'cargo is missing: install Rust, stable'
command -v python3 >/dev/null || die 'python3 is missing, which makes the zip'

target=$machine-unknown-linux-gnu
folder=${CARGO_TARGET_DIR:-$PWD/target}
out=$PWD/infra/aws/build

has_std() { compgen -G "$(rustc --print target-libdir --target "$target" 2>/dev/null)/libstd*.rlib" >/dev/null; }
is_this_machine() { [ "$(uname -s)-$(uname -m | sed s/arm64/aarch64/)" = "Linux-$machine" ]; }

with_cargo() {
    say "building for $arch with cargo"
    cargo build --locked --release --package portcullis-lambda --bin bootstrap --target "$target" >&2
    program=$folder/$target/release/bootstrap
}

# It links with zig, against a glibc that is old enough everywhere.
with_cargo_lambda() {
    say "building for $arch with cargo lambda"
    CARGO_TARGET_DIR=$folder cargo lambda build --locked --release --package portcullis-lambda --bin bootstrap \
        "--${arch/_/-}" --lambda-dir "$folder/cargo-lambda" >&2
    program=$folder/cargo-lambda/bootstrap
}

if is_this_machine; then
    with_cargo
elif ! has_std && ! { command -v rustup >/dev/null && rustup target add "$target" >&2; }; then
    die "rustc has no standard library for $target, and rustup could not add it. Add it (rustup target add $target)," \
        "build on a machine with $machine, or build for this one: --arch $(uname -m | sed s/aarch64/arm64/)"
elif command -v cargo-lambda >/dev/null; then
    with_cargo_lambda
elif command -v "$machine-linux-gnu-gcc" >/dev/null; then
    upper=$(printf %s "$target" | tr a-z- A-Z_)
    export "CARGO_TARGET_${upper}_LINKER=$machine-linux-gnu-gcc" "CC_${target//-/_}=$machine-linux-gnu-gcc"
    with_cargo
else
    die "no linker for $target: install cargo lambda (pip install cargo-lambda), or a C compiler" \
        "($machine-linux-gnu-gcc; on Debian: apt-get install gcc-${machine/_/-}-linux-gnu)"
fi

newest=$({ grep -aoE 'GLIBC_2\.[0-9]+' "$program" || true; } | cut -d. -f2 | sort -n | tail -n 1)
if [ "${newest:-0}" -gt "$glibc" ]; then
    is_this_machine && command -v cargo-lambda >/dev/null && with_cargo_lambda ||
        die "linked against glibc 2.$newest, and provided.al2023 has 2.$glibc: install cargo lambda (pip install cargo-lambda)"
fi

stamp=$(printf '%s ' "$arch"; sha256sum < "$program")
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ] && [ -f "$out/portcullis.zip" ]; then
    say "$out/portcullis.zip is up to date"
    exit 0
fi

rm -rf "$out"; mkdir -p "$out"
# With one date for all, so that the same program is the same package.
python3 - "$program" "$out/portcullis.zip" <<'PYTHON'
import sys, zipfile

program, package = sys.argv[1:]
entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
entry.create_system, entry.external_attr, entry.compress_type = 3, 0o100755 << 16, zipfile.ZIP_DEFLATED
with zipfile.ZipFile(package, "w") as archive, open(program, "rb") as file:
    archive.writestr(entry, file.read(), compresslevel=9)
PYTHON

size=$(wc -c < "$out/portcullis.zip" | tr -d ' ')
[ "$size" -le "$most" ] || { rm -rf "$out"; die "the package has $size bytes, more than $most"; }
printf '%s\n' "$stamp" > "$out/.stamp"
say "$out/portcullis.zip for $arch: $size bytes, the program $(wc -c < "$program" | tr -d ' ')"
