#!/usr/bin/env bash
# scripts/test_release.sh SUITE [COMMAND…]: make test (or COMMAND) of the committed tree on another Debian release: its
# compiler, FFmpeg, X servers and Python. Works in a root file system that debootstrap makes under build/ and that the
# next run takes again (about 3 GB; rm -rf build/release-SUITE when done). Needs root.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [ $# -lt 1 ]; then die "which Debian release?" "scripts/test_release.sh trixie"; fi
SUITE="$1"
shift
if [ $# -eq 0 ]; then set -- make test; fi
TREE="$ROOT/build/release-$SUITE"
MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"

if [ "$(id -u)" -ne 0 ]; then die "a root file system of another release needs root" "sudo scripts/test_release.sh $SUITE"; fi
have debootstrap || install_packages debootstrap -- debootstrap

if [ ! -e "$TREE/.complete" ]; then
  say "making a root file system of $SUITE in ${TREE#"$ROOT/"}"
  rm -rf "$TREE"
  mkdir -p "$TREE"
  # Releases newer than this debootstrap are made as the newest that it knows.
  script=()
  if [ ! -e "/usr/share/debootstrap/scripts/$SUITE" ]; then script=(sid); fi
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3 "$SUITE" "$TREE" "$MIRROR" "${script[@]}" |
    tail -n 3
  touch "$TREE/.complete"
fi

# What makes this machine's package installs work makes the release's work: resolver, pip's settings, certificates.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  if [ -e "$file" ]; then install -D -m 644 "$file" "$TREE$file"; fi
done

# A mirror that lags behind still serves: this is a throw-away system.
echo 'Acquire::Check-Valid-Until "false";' >"$TREE/etc/apt/apt.conf.d/lagging-mirror"

say "$SUITE: $*"
WORK="/root/kvmstream"
mkdir -p "$TREE$WORK"
git -C "$TREE$WORK" init -q
git -C "$TREE$WORK" fetch -q --depth 1 "file://$ROOT" HEAD
git -C "$TREE$WORK" checkout -q --force FETCH_HEAD

# A mount and process space of its own: nothing started inside outlives it, no mount is left behind.
unshare --mount --pid --fork --kill-child bash -c '
  set -euo pipefail
  tree="$1" work="$2"
  shift 2
  mount --make-rprivate /
  mount --bind "$tree" "$tree" # its root is a mount point then, as `ip netns` wants it
  mount -t proc proc "$tree/proc"
  mount --rbind /dev "$tree/dev"
  mount -t tmpfs tmpfs "$tree/dev/shm"
  mount -t tmpfs tmpfs "$tree/run"
  exec chroot "$tree" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 TERM="${TERM:-dumb}" JOBS="${JOBS:-}" KVMSTREAM_WERROR="${KVMSTREAM_WERROR:-}" PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    bash -c "cd \"\$1\" && shift && exec \"\$@\"" - "$work" "$@"
' - "$TREE" "$WORK" "$@"
