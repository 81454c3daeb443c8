#!/bin/sh
# Installs what a target of the Makefile needs and this machine lacks, with Debian's package
# manager. Says nothing when everything is there.
#
# usage: xtask/deps.sh make | build | test | coverage
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
    cargo fmt --version >/dev/null 2>&1 || part_of_rust rustfmt rustfmt
    cargo clippy --version >/dev/null 2>&1 || part_of_rust clippy rust-clippy
}

# A part of Rust comes from where Rust came from: rustup, or Debian's packages.
part_of_rust() {
    if command -v rustup >/dev/null 2>&1; then
        rustup component add "$1"
    elif [ "$(command -v cargo)" = /usr/bin/cargo ]; then
        packages="$packages $2"
    else
        echo "cargo $1 is missing, and there is no rustup: install it as you installed Rust" >&2
        exit 1
    fi
}

case "${1:-}" in
make) need_command make make ;;
build) build ;;
test) tests ;;
coverage)
    tests
    major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    need_command "llvm-profdata-$major" "llvm-$major"
    ;;
*)
    echo "usage: $0 make|build|test|coverage" >&2
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
echo "installing with apt-get:$packages"
# etcd's package would start a server of its own, now and at every boot; the tests start theirs on
# free ports. Whatever ends this script, later installations must find the machine as it was.
policy=/usr/sbin/policy-rc.d
made=""
cleanup() {
    [ -z "$made" ] || $sudo rm -f "$policy"
    made=""
}
trap cleanup EXIT
trap 'cleanup; exit 129' HUP
trap 'cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM
if [ ! -e "$policy" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi
apt() {
    # Another installation, such as the nightly one, may be under way: wait for its end.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}
install() {
    # shellcheck disable=SC2086  # the list of packages is meant to be split
    apt install -y --no-install-recommends $packages
}
install || {
    echo "not with the lists of packages as they are: reading them anew, then again"
    apt update && install
}
case "$packages" in
*etcd-server*)
    if [ -d /run/systemd/system ]; then
        $sudo systemctl disable --now etcd >/dev/null 2>&1 || true
        echo "etcd is installed and not started; \`systemctl enable --now etcd\` would"
    fi
    ;;
esac
