#!/usr/bin/env bash
# Makes `cargo build --target wasm32-unknown-unknown` work, and prints on standard
# output the `export` lines that the calling shell needs for it (none at all where
# the ordinary toolchain has the target).  Everything else goes to standard error.
#
#   eval "$(bash wasm-toolchain.sh)"          # in a shell, a Makefile recipe, CI
#   bash wasm-toolchain.sh --check            # exit 0 when nothing is left to do
#
# The toolchain it makes has rustc, rustdoc, cargo and clippy, no rustfmt.
#
# 1. The active rustc already has the target's std          -> nothing to do.
# 2. `rustup target add` works (any machine with rustup and the
#    internet)                                               -> nothing more to do.
# 3. Otherwise (Debian, x86-64 or arm64, apt): unpack Debian's rustc, its LLVM and
#    the std sources into a private folder (nothing is installed, nothing on PATH
#    is shadowed), build std for the target once, and lay it out as a toolchain.
#
# Settings: RUST_WASM_HOME (the private folder), RUST_WASM_TRY_RUSTUP=0 (skip 2).
set -euo pipefail

target=wasm32-unknown-unknown
home=${RUST_WASM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/rust-wasm32}
recipe=3                                    # raise when the steps below change
say() { printf 'wasm-toolchain: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
has_std() {                                 # has_std RUSTC
    local dir
    dir=$("$1" --print target-libdir --target "$target" 2>/dev/null) || return 1
    compgen -G "$dir/libstd*.rlib" >/dev/null
}
print_env() {
    # RUSTC/RUSTDOC: cargo obeys them, also the cargo that rustup's proxy starts.
    # PATH: for tools that call a bare `rustc` (worker-build does).
    # RUSTUP_TOOLCHAIN: so that rustup's proxies, wherever they stand in PATH, agree.
    printf 'export RUSTC=%q\n' "$tc/bin/rustc"
    printf 'export RUSTDOC=%q\n' "$tc/bin/rustdoc"
    printf 'export PATH=%q:"$PATH"\n' "$tc/bin"
    if command -v rustup >/dev/null; then printf 'export RUSTUP_TOOLCHAIN=%q\n' "$tc"; fi
}

# --- an earlier run's private toolchain -------------------------------------
tc=$home/toolchain
ready() { [ "$(cat "$tc/.recipe" 2>/dev/null)" = "$recipe" ] && has_std "$tc/bin/rustc"; }

# The toolchain the project would use by itself, even if our own env is already set.
plain() { env -u RUSTC -u RUSTDOC -u RUSTUP_TOOLCHAIN PATH="${PATH//"$tc/bin:"/}" "$@"; }
plain_has_std() {
    local dir
    dir=$(plain rustc --print target-libdir --target "$target" 2>/dev/null) || return 1
    compgen -G "$dir/libstd*.rlib" >/dev/null
}

if plain_has_std; then say "rustc has $target already"; exit 0; fi
if ready; then say "using $tc"; print_env; exit 0; fi
[ "${1:-}" = --check ] && die "$target is not set up"

# --- rustup ------------------------------------------------------------------
if [ "${RUST_WASM_TRY_RUSTUP:-1}" = 1 ] && command -v rustup >/dev/null; then
    say "rustup target add $target"
    if plain timeout 300 rustup target add "$target" >&2 && plain_has_std; then exit 0; fi
    say "rustup could not add it; falling back to Debian's packages"
fi

# --- Debian's packages, unpacked privately -----------------------------------
for tool in apt-get apt-cache dpkg-deb tar cargo; do
    command -v "$tool" >/dev/null || die "no $tool here: install the $target target by hand"
done
mkdir -p "$home"
exec 9>"$home/.lock"; flock 9               # two builds at once: the second waits
if ready; then say "using $tc"; print_env; exit 0; fi

candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ { print $2 }'; }
have() { local v; v=$(candidate "$1"); [ -n "$v" ] && [ "$v" != '(none)' ]; }
# A stale package list names a compiler that is older than the project's rust-version.
least=1.91
recent() { local v; v=$(candidate "$1"); have "$1" && dpkg --compare-versions "$v" ge "$least"; }
if ! recent rustc-web && ! recent rustc; then
    say "apt-get update"; apt-get update >&2 || die "apt-get update failed (are you root?)"
fi
# "-web" is the newer compiler that Debian stable carries for its browsers.
if have rustc-web && have rust-web-src; then
    pkgs=(rustc-web libstd-rust-web-dev rust-web-src)
elif have rustc && have rust-src; then
    pkgs=(rustc libstd-rust-dev rust-src)
else
    die "no rustc with sources among this system's packages"
fi
depends() { apt-cache depends --important "$1" 2>/dev/null | awk '/Depends:/ { print $NF }'; }
lib=$(depends "${pkgs[1]}" | grep -E '^libstd-rust-.*[0-9]$' | head -n1)
[ -n "$lib" ] || die "cannot tell ${pkgs[1]}'s library package"
llvm=$(depends "$lib" | grep -E '^libllvm[0-9]+$' | head -n1)
pkgs+=("$lib" ${llvm:+"$llvm"})
if have rust-web-clippy && [ "${pkgs[0]}" = rustc-web ]; then pkgs+=(rust-web-clippy); fi

# A fixed place, not mktemp: std's crate hashes must come out the same each time, or
# cargo's target folders built against an earlier one fail with E0460/E0463.
work=$home/work; rm -rf "$work"; trap 'rm -rf "$work"' EXIT
mkdir "$work" "$work/debs" "$work/root"
say "downloading ${pkgs[*]}"
( cd "$work/debs" && apt-get download "${pkgs[@]}" ) >&2
for deb in "$work"/debs/*.deb; do
    case ${deb##*/} in
        rust-*src_*) dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$work/root" --wildcards './usr/src/rustc-*/library' './usr/lib/rustlib' ;;
        *) dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$work/root" --exclude './usr/share' --exclude './usr/libexec' ;;
    esac
done

new=$work/root/usr
libdir=$(dirname "$(find "$new/lib" -name 'librustc_driver-*.so' | head -n1)")
[ -e "$libdir" ] || die "no compiler library in ${pkgs[*]}"
# LLVM's own libraries (libz3, libedit, ...) come from the system.
if LD_LIBRARY_PATH=$libdir ldd "$new/bin/rustc" | grep -q 'not found'; then
    [ "$(id -u)" = 0 ] || die "as root: apt-get install $llvm"
    apt-get install -y --no-install-recommends "$llvm" >&2
fi
# Debian's rustc finds its libraries in the system's folder: say where they are now.
# $0 may be a link or a bare name found on PATH, so resolve it.
mkdir -p "$new/libexec"
for b in rustc rustdoc clippy-driver cargo-clippy; do
    [ -e "$new/bin/$b" ] || continue        # clippy is only there if Debian has it
    mv "$new/bin/$b" "$new/libexec/$b"
    cat > "$new/bin/$b" <<WRAP
#!/bin/sh
self=\$(readlink -f "\$0") root=\${self%/bin/*}
LD_LIBRARY_PATH="\$root/${libdir#"$new"/}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$root/libexec/$b" "\$@"
WRAP
    chmod +x "$new/bin/$b"
done
# The sysroot is found from the compiler library's place, so moving the folder is fine.

# The linker: rustup's own toolchains bring one; else lld.
host=$("$new/bin/rustc" -vV | awk '/^host:/ { print $2 }')
lld=$(plain rustc --print sysroot 2>/dev/null)/lib/rustlib/$host/bin/rust-lld
if [ ! -x "$lld" ]; then
    lld=$(command -v wasm-ld || compgen -c wasm-ld- | sort -V | tail -n1 || true)
    [ -n "$lld" ] && lld=$(command -v "$lld")
fi
if [ -z "$lld" ]; then
    [ "$(id -u)" = 0 ] || die "as root: apt-get install lld"
    apt-get install -y --no-install-recommends lld >&2; lld=$(command -v wasm-ld)
fi
mkdir -p "$new/lib/rustlib/$host/bin"
ln -sf "$(readlink -f "$lld")" "$new/lib/rustlib/$host/bin/rust-lld"

# cargo: the one already here (rustup's real binary, not its proxy).
cargo=$(plain rustup which cargo 2>/dev/null || plain sh -c 'command -v cargo')
ln -sf "$cargo" "$new/bin/cargo"

# --- std for the target, once ------------------------------------------------
src=$(readlink -f "$new/lib/rustlib/src/rust")/library
[ -d "$src/std" ] || die "no std sources in $src"
say "building std for $target with $("$new/bin/rustc" -V) (a minute or two)"
(   cd "$src/sysroot"
    unset RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET \
          CARGO_BUILD_RUSTC_WRAPPER RUSTC_WRAPPER
    RUSTC=$new/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zforce-unstable-if-unmarked --remap-path-prefix=$work/root/usr/src=/rust" \
    CARGO_TARGET_DIR=$work/std CARGO_PROFILE_DIST_DEBUG=0 \
        "$cargo" build --locked --quiet --profile dist --target "$target" \
        --features panic-unwind,backtrace >&2 )
mkdir -p "$new/lib/rustlib/$target/lib"
cp "$work"/std/"$target"/dist/deps/*.rlib "$new/lib/rustlib/$target/lib/"
rm -rf "$new/src" "$new/lib/rustlib/src"    # 70 MB that nothing needs any more
echo "$recipe" > "$new/.recipe"
rm -rf "$tc"; mv "$new" "$tc"
ready || die "the toolchain in $tc does not work"
say "made $tc ($(du -sh "$tc" | cut -f1))"
print_env
