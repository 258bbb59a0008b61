#!/usr/bin/env bash
# make bench-encoders: our encoder beside others on recorded screens. Arguments, or those in ARGUMENTS, go to encoders.py.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_system build bench
ensure_venv
ensure_group build bench
cmake --preset tests >/dev/null
cmake --build --preset tests --target bench_encode --parallel "$JOBS"
# shellcheck disable=SC2086
PYTHONPATH=src exec "$PY" benchmarks/encoders.py "$@" ${ARGUMENTS:-}
