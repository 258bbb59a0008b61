#!/usr/bin/env bash
# The C++ tests, crossed for Windows by mingw-w64 and run by Wine on a private X server, and a source from the screen to
# a decoder and to a hub. A part of make test.
# --build builds them and runs nothing.
# KVMSTREAM_REQUIRE_WINE: installs what is missing, and fails without it; else these tests are left out then.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source scripts/wine.sh

if [ -n "${KVMSTREAM_REQUIRE_WINE:-}" ]; then
  need_system windows
elif ! has_needs windows; then
  printf '\033[1;33mkvmstream: NOT TESTED: the Windows code. "%s" installs what it takes\033[0m\n' \
    "sudo apt-get install g++-mingw-w64-x86-64-posix make wine xvfb xz-utils" >&2
  exit 0
fi

if ! scripts/ffmpeg_windows.sh; then
  if [ -n "${KVMSTREAM_REQUIRE_WINE:-}" ]; then exit 1; fi
  printf '\033[1;33mkvmstream: NOT TESTED: hardware encoders on Windows, for want of an FFmpeg for it\033[0m\n' >&2
fi
cmake --preset windows >/dev/null
cmake --build --preset windows --parallel "$JOBS"
if [ "${1:-}" = --build ]; then exit 0; fi

need_system build test
ensure_venv
ensure_group build test
install_native # its decoder looks at what the source made

folder="$(mktemp -d)"
CLEANUP+=("rm -rf '$folder'")
# The second monitor is left of the primary one and higher: its places are negative.
start_wine "$folder" 1920x1120 1280x1024+640+96 640x480+0+0
export KVMSTREAM_TEST_MONITORS="1280x1024+0+0 640x480-640-96"
status=0
export KVMSTREAM_WINDOWS_BUILD="$ROOT/build/windows"
# Most of their time is waiting.
timeout 300 ctest --preset windows --parallel "$((2 * JOBS))" || status=$?
if [ "$status" -eq 124 ]; then die "the tests under Wine took more than 300 s: something hangs"; fi
if [ "$status" -ne 0 ]; then
  say "once more, alone: what failed beside another test"
  timeout 180 ctest --preset windows --rerun-failed --parallel 1
fi
end_wine # the desktop of these is on another X server
timeout 180 "$PY" -m pytest -q -s -p no:cacheprovider tests/test_windows_source.py tests/test_windows_hub.py
