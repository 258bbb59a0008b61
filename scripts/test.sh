#!/usr/bin/env bash
# make test: everything that must pass before a change lands; under 15 minutes on two cores from nothing.
# KVMSTREAM_TEST_LIMIT: seconds after which the tests count as failed; without it they only say that they were slow.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

started=$SECONDS
say "1/5 set-up"
need_system build test
ensure_venv
ensure_group build test

# Tests that need an X server start one of their own: a private Xvfb or Xvnc each, ended with them.
say "2/5 C++ tests"
cmake --preset tests >/dev/null # errors, with the command that mends them, come on stderr
cmake --build --preset tests --parallel "$JOBS"
# Most of these tests keep one core busy, or none.
in_background "the build of the package" install_native
ctest --preset tests
await_background

say "3/5 Python tests, native and fallback"
# With what those leave of the cores.
in_background "the build for Windows" scripts/test_windows.sh --build
# The installed package is tested, never the source tree. The tests run on one backend after the other by
# themselves; without the native core they would skip half, so its absence is a failure here.
export KVMSTREAM_REQUIRE_NATIVE=1
run_pytest "$PY" "$@"

say "4/5 the code for Windows, under Wine"
await_background
scripts/test_windows.sh

say "5/5 the pure wheel, alone in an environment of its own"
scripts/check_pure_wheel.sh "$PY"

took=$((SECONDS - started))
say "all tests passed in $took s"
if [ "$took" -gt 900 ]; then echo "kvmstream: they should take 900 s at most on two idle cores" >&2; fi
if [ "$took" -gt "${KVMSTREAM_TEST_LIMIT:-$took}" ]; then
  die "that is more than $KVMSTREAM_TEST_LIMIT s" "pytest --durations=20 names the slowest"
fi
