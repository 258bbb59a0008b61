#!/usr/bin/env bash
# make test: everything that must pass before a change lands; under 15 minutes on two cores from nothing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

started=$SECONDS
say "1/5 set-up"
need_system build test
ensure_venv
ensure_group build test

say "2/5 C++ tests"
cmake --preset tests >/dev/null # errors, with the command that mends them, come on stderr
cmake --build --preset tests --parallel "$JOBS"
start_xvfb
KVMSTREAM_TEST_DISPLAY="$XVFB_DISPLAY" ctest --preset tests

say "3/5 Python tests, the native core installed"
install_native
# From /: the installed package is tested, never the source tree. The tests choose the backend
# themselves: parity tests run on both.
KVMSTREAM_TEST_DISPLAY="$XVFB_DISPLAY" KVMSTREAM_TEST_NATIVE=1 \
  "$PY" -m pytest -p no:cacheprovider "$@"

say "4/5 the public API again, with the fallback forced"
KVMSTREAM_TEST_DISPLAY="$XVFB_DISPLAY" KVMSTREAM_BACKEND=python \
  "$PY" -m pytest -p no:cacheprovider -m 'not native and not slow' --ignore tests/test_packaging.py "$@"

say "5/5 the pure wheel, alone in an environment of its own"
scripts/check_pure_wheel.sh "$PY"

say "all tests passed in $((SECONDS - started)) s"
