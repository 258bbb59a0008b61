#!/usr/bin/env bash
# check_pure_wheel.sh PYTHON: builds the py3-none-any wheel, installs it with its declared dependencies and nothing
# else, and lets it encode.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PY="${1:?usage: check_pure_wheel.sh PYTHON}"
PURE="$ROOT/.venv-pure"
dist="$(mktemp -d)"
CLEANUP+=("rm -rf '$dist'")

KVMSTREAM_PURE=1 "$PY" -m pip wheel -q --no-deps --no-build-isolation -w "$dist" .
wheel="$(echo "$dist"/kvmstream-*.whl)"
case "$wheel" in
  *-py3-none-any.whl) ;;
  *) die "KVMSTREAM_PURE=1 built $(basename "$wheel"), not a py3-none-any wheel" ;;
esac

if [ ! -x "$PURE/bin/python" ] || [ "$(python_id "$PURE/bin/python")" != "$(python_id "$PY")" ]; then
  rm -rf "$PURE"
  "$PY" -m venv "$PURE"
fi
"$PURE/bin/python" -m pip install -q "$wheel"
"$PURE/bin/python" -m pip install -q --force-reinstall --no-deps "$wheel"
cd "$dist"
env -u DISPLAY -u KVMSTREAM_BACKEND -u PYTHONPATH "$PURE/bin/python" -W error "$ROOT/scripts/smoke.py" python
