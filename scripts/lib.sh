# Shared by the scripts beside it: sourced, never run. Sets $ROOT, goes there, and gives
# in_background, await_background, need_system, ensure_venv, ensure_group, install_native, run_pytest, start_xvfb,
# usable_display.
# shellcheck shell=bash

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

VENV="$ROOT/.venv"
JOBS="${JOBS:-$(nproc 2>/dev/null || echo 2)}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() {
  printf '\033[1;31mkvmstream: %s\033[0m\n' "$1" >&2
  shift
  if [ $# -gt 0 ]; then printf '  %s\n' "$@" >&2; fi
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Things to undo at the end, newest first.
CLEANUP=()
cleanup() {
  local i
  for ((i = ${#CLEANUP[@]} - 1; i >= 0; i--)); do eval "${CLEANUP[$i]}" || true; done
  CLEANUP=()
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in_background NAME CMD…: at the lowest priority beside what follows. Ended with the script; one at a time.
in_background() {
  BACKGROUND="$1"
  BACKGROUND_LOG="$(mktemp)"
  shift
  set -m # a process group of its own, to end all of it
  (
    set +m
    trap - EXIT # the clean-up is that of the script
    renice -n 19 -p "$BASHPID" >/dev/null
    "$@"
  ) >"$BACKGROUND_LOG" 2>&1 </dev/null &
  BACKGROUND_PID=$!
  set +m
  CLEANUP+=("rm -f '$BACKGROUND_LOG'" "if [ \"\$BACKGROUND_PID\" = $BACKGROUND_PID ]; then end_background; fi")
}
end_background() {
  kill -- "-$BACKGROUND_PID" || true # it has ended just now
  wait "$BACKGROUND_PID" || true
}
# await_background: when it failed, so does the script, and shows what it said.
await_background() {
  local status=0
  wait "$BACKGROUND_PID" || status=$?
  BACKGROUND_PID="" # its number may be somebody else's from now on
  if [ "$status" -ne 0 ]; then
    cat "$BACKGROUND_LOG" >&2
    die "$BACKGROUND failed with status $status: its output is above"
  fi
}

# ---- system packages ---------------------------------------------------------------------------
# One line per need: groups | test | Debian/Ubuntu package | Fedora package. Tested by function, not by
# package name, so that a compiler or an FFmpeg from elsewhere counts as well.

needs_table() {
  cat <<'TABLE'
build|cmd g++|g++|gcc-c++
build|cmd pkg-config|pkg-config|pkgconf-pkg-config
build|cmd cmake|cmake|cmake
build|cmd ninja|ninja-build|ninja-build
build|ffmpeg libavcodec|libavcodec-dev|ffmpeg-free-devel
build|ffmpeg libavutil|libavutil-dev|ffmpeg-free-devel
build|pc libhwy|libhwy-dev|highway-devel
build|pc x264|libx264-dev|x264-devel
build|pc xcb|libxcb1-dev|libxcb-devel
build|pc xcb-shm|libxcb-shm0-dev|libxcb-devel
build|pc xcb-damage|libxcb-damage0-dev|libxcb-devel
build|pc xcb-xfixes|libxcb-xfixes0-dev|libxcb-devel
build|pc xcb-randr|libxcb-randr0-dev|libxcb-devel
build|pc xcb-xinput|libxcb-xinput-dev|libxcb-devel
build|pc xau|libxau-dev|libXau-devel
test bench|header doctest/doctest.h|doctest-dev|doctest-devel
test screen bench|cmd Xvfb|xvfb|xorg-x11-server-Xvfb
test screen bench|cmd xterm|xterm|xterm
test windows|cmd xrandr|x11-xserver-utils|xrandr
test|cmd Xvnc|tigervnc-standalone-server|tigervnc-server
test|cmd weston|weston|weston
test|cmd Xwayland|xwayland|xorg-x11-server-Xwayland
test bench|cmd ffmpeg|ffmpeg|ffmpeg-free
test|cmd xclip|xclip|xclip
test|cmd xev|x11-utils|xev
test bench|cmd chromium|chromium|chromium
lint|cmd npm|npm|nodejs-npm
test|cmd ip|iproute2|iproute
test bench|cmd xdotool|xdotool|xdotool
test bench|cmd mpv|mpv|mpv
bench|cmd icewm|icewm|icewm
bench|cmd valgrind|valgrind|valgrind
test bench|pc openh264|libopenh264-dev|openh264-devel
windows|crosscxx|g++-mingw-w64-x86-64-posix|mingw64-gcc-c++
windows|cmd wine|wine|wine
windows|cmd Xvfb|xvfb|xorg-x11-server-Xvfb
windows|cmd make|make|make
windows|cmd xz|xz-utils|xz
bench|font DejaVuSansMono|fonts-dejavu-core|dejavu-sans-mono-fonts
TABLE
}

has_need() {
  case "$1" in
    cmd) have "$2" ;;
    pc) have pkg-config && pkg-config --exists "$2" ;;
    ffmpeg)
      # CMake checks that prefix and says what it lacks.
      if [ -n "${FFMPEG_PATH:-}" ]; then return 0; fi
      have pkg-config && pkg-config --exists "$2"
      ;;
    font) [ -n "$(find /usr/share/fonts -name "$2.ttf" -print -quit 2>/dev/null)" ] ;;
    crosscxx) have x86_64-w64-mingw32-g++-posix || have x86_64-w64-mingw32-g++ ;;
    header) [ -e "/usr/include/$2" ] || [ -e "/usr/local/include/$2" ] ;;
  esac
}

# as_root CMD…: run it as root without ever asking for a password.
can_be_root() { [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# install_packages DEBIAN_NAMES -- FEDORA_NAMES: apt-get where that is allowed, else the command to type.
install_packages() {
  local deb=() rpm=() seen_dash=0 word
  for word in "$@"; do
    if [ "$word" = -- ]; then seen_dash=1; elif [ $seen_dash = 0 ]; then deb+=("$word"); else rpm+=("$word"); fi
  done
  if have apt-get && can_be_root; then
    say "installing system packages: ${deb[*]}"
    as_root apt-get -o DPkg::Lock::Timeout=120 update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
      install -y -q --no-install-recommends "${deb[@]}"
  elif have apt-get; then
    die "these system packages are missing: ${deb[*]}" "sudo apt-get install ${deb[*]}" "and then run this again"
  elif have dnf; then
    die "these system packages are missing: ${rpm[*]}" "sudo dnf install ${rpm[*]}" "and then run this again"
  else
    die "these system packages are missing (Debian's names): ${deb[*]}" \
      "install them with your system's package manager and run this again"
  fi
}

# missing_needs GROUP…: sets missing_deb and missing_rpm.
missing_needs() {
  local groups test deb rpm wanted kind what
  missing_deb=()
  missing_rpm=()
  while IFS='|' read -r groups test deb rpm; do
    for wanted in "$@"; do
      case " $groups " in
        *" $wanted "*)
          read -r kind what <<<"$test"
          if ! has_need "$kind" "${what:-}"; then
            missing_deb+=("$deb")
            missing_rpm+=("$rpm")
          fi
          break
          ;;
      esac
    done
  done < <(needs_table)
}
has_needs() {
  local missing_deb missing_rpm
  missing_needs "$@"
  [ ${#missing_deb[@]} -eq 0 ]
}

# need_system GROUP…: build, test, screen, bench, windows.
need_system() {
  local missing_deb missing_rpm
  missing_needs "$@"
  if [ ${#missing_deb[@]} -eq 0 ]; then return 0; fi
  mapfile -t missing_deb < <(printf '%s\n' "${missing_deb[@]}" | sort -u)
  mapfile -t missing_rpm < <(printf '%s\n' "${missing_rpm[@]}" | sort -u)
  install_packages "${missing_deb[@]}" -- "${missing_rpm[@]}"
}

# need_clang: sets CLANG to a clang++ that has libFuzzer, installing one where that is allowed.
need_clang() {
  CLANG="$(compgen -c clang++ | grep -Ex 'clang\+\+(-[0-9]+)?' | sort -V | head -n1 || true)"
  if [ -z "$CLANG" ]; then
    install_packages clang -- clang compiler-rt
    CLANG=clang++
  fi
  if ! compgen -G "$("$CLANG" -print-resource-dir)/lib/*/libclang_rt.fuzzer*" >/dev/null; then
    local major
    major="$("$CLANG" -dumpversion | cut -d. -f1)"
    install_packages "libclang-rt-$major-dev" -- compiler-rt
  fi
}

# ---- Python ------------------------------------------------------------------------------------

# python_fits EXE: 3.11 or newer, with the GIL (the native core needs one).
python_fits() {
  "$1" -c 'import sys, sysconfig
ok = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
sys.exit(not ok)' >/dev/null 2>&1
}
python_has() { # python_has EXE ensurepip|headers
  case "$2" in
    ensurepip) "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
    headers) "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ;;
  esac
}

find_python() {
  local exe
  if [ -n "${PYTHON:-}" ]; then
    python_fits "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or newer (with the GIL)"
    echo "$PYTHON"
    return 0
  fi
  for exe in python3 python3.14 python3.13 python3.12 python3.11; do
    if python_fits "$exe"; then
      command -v "$exe"
      return 0
    fi
  done
  return 1
}

# pick_python: sets PY, installing Debian's Python, its venv and its headers where they are missing.
pick_python() {
  PY="$(find_python)" || {
    if [ -n "${PYTHON:-}" ]; then exit 1; fi
    if have python3; then
      local found
      found="$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null || echo unknown)"
      if ! { have apt-cache && apt-cache show python3.11 >/dev/null 2>&1; }; then
        die "Python 3.11 or newer is needed; python3 is $found" \
          "install a newer one and name it: PYTHON=/path/to/python3.12 make …"
      fi
      install_packages python3.11 python3.11-venv python3.11-dev -- python3.11 python3.11-devel
    else
      install_packages python3 python3-venv python3-dev -- python3 python3-devel
    fi
    PY="$(find_python)" || die "Python 3.11 or newer is needed and the system's packages have none" \
      "name one: PYTHON=/path/to/python3.12 make …"
  }
  local version lacks_deb=() lacks_rpm=()
  version="$("$PY" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  if ! python_has "$PY" ensurepip; then
    lacks_deb+=("python$version-venv")
    lacks_rpm+=("python3-pip")
  fi
  if ! python_has "$PY" headers; then
    lacks_deb+=("python$version-dev")
    lacks_rpm+=("python3-devel")
  fi
  if [ ${#lacks_deb[@]} -gt 0 ]; then
    case "$(readlink -f "$(command -v "$PY")")" in
      /usr/bin/*) install_packages "${lacks_deb[@]}" -- "${lacks_rpm[@]}" ;;
      *) die "$PY lacks the venv module or its headers (Python.h)" "name another: PYTHON=/usr/bin/python3 make …" ;;
    esac
  fi
}

# ensure_venv: $VENV with a pip that knows dependency groups. Made anew when its Python is gone.
ensure_venv() {
  if [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    if [ -z "${PYTHON:-}" ] || [ "$(python_id "$PYTHON")" = "$(python_id "$VENV/bin/python")" ]; then
      PY="$VENV/bin/python"
      return 0
    fi
    say "$VENV is of another Python than PYTHON=$PYTHON: making it anew"
  fi
  pick_python
  say "making a virtual environment in ${VENV#"$ROOT/"} with $("$PY" -V) ($PY)"
  rm -rf "$VENV"
  "$PY" -m venv "$VENV"
  PY="$VENV/bin/python"
  "$PY" -m pip install -q --upgrade 'pip>=25.1'
}
python_id() { "$1" -c 'import sys, sysconfig; print(sys.version, sysconfig.get_config_var("SOABI"), sys.base_prefix)'; }

# digest FILE-OR-FOLDER…: one hash over names and contents, for the stamps.
digest() {
  find "$@" -type f ! -name '*.pyc' ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
    xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# ensure_group GROUP…: dependency groups of pyproject.toml in $VENV. Quick when nothing changed.
ensure_group() {
  local group stamp want todo=()
  want="$(digest pyproject.toml)"
  for group in "$@"; do
    stamp="$VENV/.kvmstream-group-$group"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then todo+=(--group "$group"); fi
  done
  if [ ${#todo[@]} -eq 0 ]; then return 0; fi
  say "installing Python packages:${todo[*]//--group/}"
  "$PY" -m pip install -q "${todo[@]}"
  for group in "$@"; do echo "$want" >"$VENV/.kvmstream-group-$group"; done
}

# install_native: the package with its native core into $VENV, built again only when a source changed.
install_native() {
  local stamp="$VENV/.kvmstream-native" want
  ensure_group build
  want="$(digest pyproject.toml CMakeLists.txt README.md cmake cpp src) ${FFMPEG_PATH:-} ${KVMSTREAM_WERROR:-OFF}"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] &&
    (cd / && "$PY" -c 'import kvmstream, kvmstream._core' 2>/dev/null); then
    say "kvmstream with its native core is installed already"
    return 0
  fi
  rm -f "$stamp"
  say "building kvmstream with its native core (a minute or two the first time)"
  KVMSTREAM_REQUIRE_NATIVE=1 CMAKE_BUILD_PARALLEL_LEVEL="$JOBS" \
    "$PY" -m pip install -q --no-build-isolation '.[cli]'
  echo "$want" >"$stamp"
}

# run_pytest PYTHON ARGS…: three test files at a time, as two cores bear: that is one of the console (tests/conftest.py), with
# its browser, and others, most of whose time is waiting. Many tests look at the clock: what fails beside another one is run once
# more, alone, and has to pass there; $PASSED_ALONE names it.
run_pytest() {
  local python="$1" cache="$ROOT/build/pytest-cache" status=0
  shift
  rm -rf "$cache"
  PASSED_ALONE=""
  "$python" -m pytest -o cache_dir="$cache" -n 3 --dist loadfile "$@" || status=$?
  if [ "$status" -eq 1 ]; then
    PASSED_ALONE="$("$python" -c 'import json, sys; print(*json.load(open(sys.argv[1])))' "$cache/v/cache/lastfailed")"
    say "once more, alone: what failed beside another test"
    "$python" -m pytest -o cache_dir="$cache" --last-failed --last-failed-no-failures none "$@"
  elif [ "$status" -ne 0 ]; then
    return "$status"
  fi
}

# ---- a private X server ------------------------------------------------------------------------

# start_xvfb [WxH]: sets XVFB_DISPLAY (":7"); ended with the script.
start_xvfb() {
  local size="${1:-1920x1080}" number pid dir i
  dir="$(mktemp -d)"
  CLEANUP+=("rm -rf '$dir'")
  : >"$dir/number" # it must exist before the server, started in the background, opens it
  # The display number comes through a descriptor: nothing to guess, no race for a free one.
  Xvfb -displayfd 6 -screen 0 "${size}x24" -nolisten tcp -noreset +extension RANDR \
    6>"$dir/number" >"$dir/log" 2>&1 &
  pid=$!
  CLEANUP+=("kill $pid 2>/dev/null && wait $pid 2>/dev/null")
  for ((i = 0; i < 100; i++)); do
    number="$(cat "$dir/number")"
    if [ -n "$number" ]; then break; fi
    kill -0 "$pid" 2>/dev/null || die "Xvfb did not start:" "$(cat "$dir/log")"
    sleep 0.1
  done
  if [ -z "${number:-}" ]; then die "Xvfb named no display within 10 s:" "$(cat "$dir/log")"; fi
  XVFB_DISPLAY=":$number"
}

# usable_display: the user's own X screen can really be read. Else $WHY_NOT says why ("" when there is none).
usable_display() {
  WHY_NOT=""
  if [ -z "${DISPLAY:-}" ] || [ -n "${DEMO_PRIVATE:-}" ]; then return 1; fi
  local shot
  shot="$(mktemp -d)"
  CLEANUP+=("rm -rf '$shot'")
  WHY_NOT="$("$VENV/bin/kvmstream" screenshot "$shot/screen.png" 2>&1 >/dev/null)"
}
