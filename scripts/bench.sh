#!/usr/bin/env bash
# make bench: the comparison table of README on this machine. Arguments go to compare_backends.py.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_system build bench
ensure_venv
ensure_group bench
install_native
# A peer to compare with; not on every platform, and the benchmark does without.
if ! "$PY" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("pixelflux") is None)'; then
  "$PY" -m pip install -q 'pixelflux>=2.2' || echo "pixelflux is not to be had here: compared without it"
fi
exec "$PY" benchmarks/compare_backends.py "$@"
