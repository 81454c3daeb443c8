#!/bin/sh
# Installs what a target of the Makefile needs and this machine lacks, with Debian's package
# manager. Says nothing when everything is there.
#
# usage: xtask/deps.sh build | test | coverage
set -eu

packages=""
need_command() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }

build() {
    command -v cargo >/dev/null 2>&1 || {
        echo "Rust is missing: install it from https://rustup.rs (1.88 or newer)" >&2
        exit 1
    }
    # Optimised C inside aws-lc-sys; a bare C compiler is enough.
    command -v cc >/dev/null 2>&1 || packages="$packages gcc libc6-dev"
    # The build script of etcd-client compiles etcd's protos, which import the well-known types.
    [ -n "${PROTOC:-}" ] || need_command protoc protobuf-compiler
    found=""
    for dir in ${PROTOC_INCLUDE:-} /usr/include /usr/local/include; do
        [ -e "$dir/google/protobuf/descriptor.proto" ] && found=yes
    done
    [ -n "$found" ] || packages="$packages libprotobuf-dev"
}

tests() {
    build
    need_command etcd etcd-server
    need_command etcdctl etcd-client
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

case "${1:-}" in
build) build ;;
test) tests ;;
coverage)
    tests
    major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    need_command "llvm-profdata-$major" "llvm-$major"
    ;;
*)
    echo "usage: $0 build|test|coverage" >&2
    exit 2
    ;;
esac

[ -n "$packages" ] || exit 0

command -v apt-get >/dev/null 2>&1 || {
    echo "these packages (named as in Debian) are missing, install them by hand:$packages" >&2
    exit 1
}
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "run as root, or install sudo: apt-get install$packages" >&2
        exit 1
    }
    sudo=sudo
fi
echo "installing:$packages"
# etcd's package would start a server of its own; the tests start theirs on free ports.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    made=yes
fi
cleanup() { [ -z "$made" ] || $sudo rm -f "$policy"; }
trap cleanup EXIT
install() {
    # shellcheck disable=SC2086  # the list of packages is meant to be split
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $packages
}
install >/dev/null 2>&1 || { $sudo apt-get update -q && install; }
