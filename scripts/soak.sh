#!/usr/bin/env bash
# make soak: the long forms of the tests, about four hours on two cores. Runs every step even when one fails,
# writes docs/soak-report.md, and ends with status 1 when anything failed.
# SOAK_MINUTES (10): minutes for each fuzz target; 0 is 5 s. SOAK_REPEATS (20): runs of the C++ tests; of the Python tests a fifth.
# SOAK_STEPS: some of "asan tsan fuzz memory wire crowd kill repeat pythons releases", to run a part or to go on after a cut:
# the report is written after every step and keeps the rows of earlier runs, each with its commit and date, also when only the
# report itself is left of them.
# SOAK_PYTHONS (3.11 3.12 3.13 3.14): other Pythons to test, where they are found.
# SOAK_RELEASES (trixie forky): other Debian releases to pass make test on (scripts/test_release.sh; needs root).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MINUTES="${SOAK_MINUTES:-10}"
REPEATS="${SOAK_REPEATS:-20}"
ALL_STEPS="asan tsan fuzz memory wire crowd kill repeat pythons releases"
STEPS="${SOAK_STEPS:-$ALL_STEPS}"
PYTHONS="${SOAK_PYTHONS:-3.11 3.12 3.13 3.14}"
RELEASES="${SOAK_RELEASES:-trixie forky}"
REPORT="docs/soak-report.md"
LOGS="$ROOT/build/soak-logs"
ROWS="$ROOT/build/soak-rows"
mkdir -p "$LOGS" "$ROWS"

failed=0
commit="$(git rev-parse --short HEAD 2>/dev/null || echo "not under git")"
if [ -n "$(git status --porcelain -- . ":!$REPORT" 2>/dev/null)" ]; then commit="$commit with uncommitted changes"; fi

# row GROUP NAME OUTCOME TIME WHAT: keeps one row of the report, in place of an earlier one of that name.
row() {
  echo "| $2 | $3 | $4 | $5 | $commit, $(date -u +%Y-%m-%d\ %H:%M) |" >"$ROWS/$(order_of "$1")-$(slug "$2")"
  write_report
}
order_of() { tr ' ' '\n' <<<"$ALL_STEPS" | grep -nx "$1" | cut -d: -f1; }
never_run() {
  local each
  for each in $ALL_STEPS; do compgen -G "$ROWS/$(order_of "$each")-*" >/dev/null || echo "$each"; done | paste -sd ' '
}

# The rows of an earlier report, where nothing else is left of its run.
restore_rows() {
  if [ ! -f "$REPORT" ] || compgen -G "$ROWS/*" >/dev/null; then return 0; fi
  local line name group
  while IFS= read -r line; do
    name="$(echo "$line" | cut -d'|' -f2 | sed 's/^ *//; s/ *$//')"
    case "$name" in
      ASan*) group=asan ;;
      TSan) group=tsan ;;
      fuzz*) group=fuzz ;;
      memory*) group=memory ;;
      wire) group=wire ;;
      crowd) group=crowd ;;
      kill*) group=kill ;;
      *repeated) group=repeat ;;
      Python* | PyAV*) group=pythons ;;
      Debian*) group=releases ;;
      *) continue ;;
    esac
    echo "$line" >"$ROWS/$(order_of "$group")-$(slug "$name")"
  done < <(sed -n '/^| step /,$p' "$REPORT" | tail -n +3)
}
slug() { echo "$1" | tr -cs 'A-Za-z0-9.\n' '-' | sed 's/-$//'; }

write_report() {
  local cpu missing
  missing="$(never_run)"
  cpu="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n1)"
  {
    echo "# Soak report"
    echo
    echo "Written by \`make soak\`; do not edit. Each row is that step's last run, with its commit and its time (UTC)."
    echo
    echo "| | |"
    echo "|---|---|"
    echo "| machine | ${cpu:-unknown CPU}, $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), $(uname -sr) |"
    echo "| system | $(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-unknown}"), $("$PY" -V), $(c++ --version | head -n1) |"
    echo "| FFmpeg | $(pkg-config --modversion libavcodec 2>/dev/null | sed 's/^/libavcodec /'), PyAV $("$PY" -c 'import av; print(av.__version__)') |"
    echo "| verdict | $(if grep -qF '**failed**' "$ROWS"/*; then echo "**something failed**"; else echo "everything that ran passed"; fi)${missing:+; never run: $missing} |"
    echo
    echo "| step | outcome | time | what | commit, end |"
    echo "|---|---|---|---|---|"
    # In the order of the steps: ten comes after nine.
    printf '%s\n' "$ROWS"/* | sort -V | while IFS= read -r each; do cat "$each"; done
  } >"$REPORT"
}

# step GROUP NAME DETAIL CMD…: runs CMD with its output in a log, notes outcome and time.
step() {
  local group="$1" name="$2" detail="$3" log begin outcome status=0
  shift 3
  log="$LOGS/$(slug "$name").log"
  say "$name"
  begin=$SECONDS
  # Not `if "$@"`: that would switch `set -e` off inside the command.
  set +e
  (
    trap - EXIT
    set -e
    "$@"
  ) >"$log" 2>&1
  status=$?
  set -e
  if [ $status -eq 0 ]; then
    outcome=passed
  else
    outcome="**failed** (status $status)"
    failed=1
    tail -n 40 "$log"
  fi
  # A step may leave its figures in its last line that starts with "soak:".
  local figures
  figures="$(grep -a '^soak: ' "$log" | sed 's/^soak: //' | paste -sd ';' | sed 's/;/; /g' || true)"
  row "$group" "$name" "$outcome" "$((SECONDS - begin)) s" "${detail}${figures:+: $figures}"
  echo "   $outcome in $((SECONDS - begin)) s${figures:+: $figures}; log: ${log#"$ROOT/"}"
}
note() { row "$1" "$2" "$3" "" "$4"; echo "   $2: $3 ($4)"; }

wants() { case " $STEPS " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

sanitized() { # sanitized PRESET
  cmake --preset "$1"
  cmake --build --preset "$1" --parallel "$JOBS"
  local shield=()
  # ThreadSanitizer's fixed address map collides with a strongly randomised one (vm.mmap_rnd_bits > 28).
  if [ "$1" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null; then shield=(setarch "$(uname -m)" -R); fi
  # The made-up desktop at full length, once.
  if [ "$1" = asan ]; then export KVMSTREAM_TEST_PICTURES=100000; fi
  "${shield[@]}" ctest --preset "$1"
  echo "soak: $(ctest --preset "$1" -N | sed -n 's/^Total Tests: //p') test programs"
}

fuzz() { # fuzz TARGET
  local name corpus
  name="$(basename "$1")"
  corpus="$ROOT/build/fuzz-corpus/$name"
  mkdir -p "$corpus"
  cd "$LOGS"
  "$1" -max_total_time=$((MINUTES > 0 ? MINUTES * 60 : 5)) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$corpus" 2>&1 | tee "fuzz-$name.out"
  echo "soak: $(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz-$name.out") inputs," \
    "corpus of $(find "$corpus" -type f | wc -l)"
}

memory() { # memory BACKEND
  KVMSTREAM_BACKEND="$1" "$PY" tests/soak_memory.py | sed -u 's/^round/soak: round/'
}

crowd() { # crowd SECONDS
  "$PY" benchmarks/relay.py --sources 50 --viewers 50 --fps 10 --bitrate 1e6 --seconds "$1" --check \
    --json "$LOGS/crowd.json"
  "$PY" - "$LOGS/crowd.json" <<'END'
import json
import sys

(r,) = json.load(open(sys.argv[1]))
minutes = " ".join(f"{mb:.1f}" for mb in r["memory"])
print(f"soak: hub {r['hub_cpu']:.0f} % of a core, lowest viewer {r['fps_lowest']:.1f} fps, MB by the minute: {minutes}")
END
}

tell_passed_alone() { if [ -n "$PASSED_ALONE" ]; then echo "soak: failed beside another test, passed alone: $PASSED_ALONE"; fi; }

repeat_python() { # repeat_python COUNT
  local i
  for ((i = 1; i <= $1; i++)); do
    echo "--- run $i of $1"
    KVMSTREAM_REQUIRE_NATIVE=1 run_pytest "$PY" -q -m 'not slow' --ignore tests/test_packaging.py
    tell_passed_alone
  done
  echo "soak: $1 runs"
}

# The newest patch version of each other Python found: on PATH, and among pyenv's.
other_pythons() {
  local version exe
  for version in $PYTHONS; do
    for exe in "$(command -v "python$version" || true)" \
      "$(compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version.*/bin/python3" | sort -V | tail -n1 || true)"; do
      if [ -n "$exe" ] && python_fits "$exe" && python_has "$exe" ensurepip &&
        "$exe" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" &&
        [ "$(python_id "$exe")" != "$(python_id "$PY")" ]; then
        echo "$version $exe"
        break
      fi
    done
  done
}

# on_python VERSION EXE: from 3.12 on all take the one stable-ABI wheel that the first of them built.
on_python() {
  local version="$1" exe="$2" venv="$ROOT/.venv-soak-$1" wheels="$ROOT/build/soak-wheels" wheel
  rm -rf "$venv"
  "$exe" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --upgrade 'pip>=25.1'
  "$venv/bin/python" -m pip install -q --group test --group build
  mkdir -p "$wheels"
  wheel="$(compgen -G "$wheels/kvmstream-*-cp312-abi3-*.whl" || true)"
  if [ "$version" = 3.11 ] || [ -z "$wheel" ]; then
    KVMSTREAM_REQUIRE_NATIVE=1 "$venv/bin/python" -m pip wheel -q --no-deps -w "$wheels" .
    if [ "$version" = 3.11 ]; then
      wheel="$(compgen -G "$wheels/kvmstream-*-cp311-cp311-*.whl")"
    else
      wheel="$(compgen -G "$wheels/kvmstream-*-cp312-abi3-*.whl")"
    fi
  fi
  "$venv/bin/python" -m pip install -q "$wheel"
  KVMSTREAM_REQUIRE_NATIVE=1 run_pytest "$venv/bin/python" -q -m 'not slow'
  tell_passed_alone
  echo "soak: $(basename "$wheel"), PyAV $("$venv/bin/python" -c 'import av; print(av.__version__)')"
  rm -rf "$venv"
}

# on_pyav MAJOR: the fallback's tests with the newest PyAV of that major version.
on_pyav() {
  local venv="$ROOT/.venv-soak-pyav"
  rm -rf "$venv"
  "$PY" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --upgrade 'pip>=25.1'
  KVMSTREAM_PURE=1 "$venv/bin/python" -m pip install -q --only-binary av --group test . "av==$1.*"
  run_pytest "$venv/bin/python" -q -m 'not native and not slow' \
    tests/test_fallback_*.py tests/test_parity_*.py tests/test_stream*.py tests/test_record*.py tests/test_decode.py
  tell_passed_alone
  echo "soak: PyAV $("$venv/bin/python" -c 'import av; print(av.__version__)')"
  rm -rf "$venv"
}

# has_pyav MAJOR: whether the index has one for this Python.
has_pyav() { "$PY" -m pip download -q --no-deps --only-binary av -d "$LOGS/pyav" "av==$1.*" >/dev/null 2>&1; }

say "set-up"
need_system build test
ensure_venv
ensure_group build test
install_native
restore_rows

if wants asan; then step asan "ASan + UBSan" "C++ tests, leaks included" sanitized asan; fi
if wants tsan; then step tsan "TSan" "C++ tests" sanitized tsan; fi

if wants fuzz; then
  if compgen -G "cpp/tests/fuzz_*.cpp" >/dev/null; then
    need_clang
    rm -f build/fuzz/fuzz/fuzz_*
    step fuzz "fuzz targets build" "$CLANG, ASan + UBSan" \
      bash -c "cmake --preset fuzz -DCMAKE_CXX_COMPILER='$CLANG' && cmake --build --preset fuzz --parallel $JOBS"
    for target in build/fuzz/fuzz/fuzz_*; do
      if [ -x "$target" ]; then
        step fuzz "fuzz $(basename "$target")" "libFuzzer, $MINUTES min" fuzz "$ROOT/$target"
      fi
    done
  else
    note fuzz "fuzzing" "not run" "there is no cpp/tests/fuzz_*.cpp"
  fi
fi

if wants memory; then
  for backend in native python; do
    step memory "memory, $backend" "20,000 unthrottled pattern frames, twice" \
      memory "$backend"
  done
fi

if wants wire; then
  step wire "wire" "garbage, truncation, floods, slow-loris, oversize against a running hub, $MINUTES min" \
    "$PY" tests/soak_wire.py "$((MINUTES > 0 ? MINUTES : 1))"
fi

if wants crowd; then
  step crowd "crowd" "50 sources at 10 fps with a viewer each, $((MINUTES > 0 ? MINUTES : 1)) min" \
    crowd "$((MINUTES > 0 ? MINUTES * 60 : 60))"
fi

if wants kill; then
  step kill "kill storm" "hub, agent, worker and viewer processes, with keys held down" "$PY" tests/soak_kill.py 50
fi

if wants repeat; then
  step repeat "C++ tests, repeated" "$REPEATS times, until one fails" bash -c "cmake --preset tests && \
    cmake --build --preset tests --parallel $JOBS && ctest --preset tests --repeat until-fail:$REPEATS"
  step repeat "Python tests, repeated" "native and fallback" repeat_python $(((REPEATS + 4) / 5))
fi

if wants pythons; then
  rm -rf build/soak-wheels
  found=()
  while read -r version exe; do
    found+=("$version")
    step pythons "Python $version" "$("$exe" -V 2>&1), native core, all but slow tests" on_python "$version" "$exe"
  done < <(other_pythons)
  this="$("$PY" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  for version in $PYTHONS; do
    case " ${found[*]:-} $this " in
      *" $version "*) ;;
      *) note pythons "Python $version" "not run" "not on this machine" ;;
    esac
  done
fi

if wants pythons; then
  for major in 17 18 19; do
    if has_pyav "$major"; then
      step pythons "PyAV $major" "the fallback's tests" on_pyav "$major"
    else
      note pythons "PyAV $major" "not run" "PyPI has none for $("$PY" -V)"
    fi
  done
  rm -rf "$LOGS/pyav"
fi

on_release() { # on_release SUITE
  scripts/test_release.sh "$1"
  scripts/test_release.sh "$1" bash -c 'echo "soak: $(.venv/bin/python -V), PyAV $(.venv/bin/python -c "import av
print(av.__version__)"), $(c++ --version | head -n1), libavcodec $(pkg-config --modversion libavcodec)"'
}

if wants releases; then
  for release in $RELEASES; do
    if [ "$(id -u)" -eq 0 ]; then
      step releases "Debian $release" "make test" on_release "$release"
    else
      note releases "Debian $release" "not run" "needs root"
    fi
  done
fi

write_report
say "wrote $REPORT"
cat "$REPORT"
exit $failed
