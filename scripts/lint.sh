#!/usr/bin/env bash
# make lint: every check, all of them even when one fails. --fix lets the formatters rewrite the sources.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_system build lint
ensure_venv
ensure_group lint test bench
install_native

mapfile -t cpp_sources < <(find cpp -name '*.cpp' -o -name '*.hpp' | sort)
mapfile -t python_dirs < <(find . -maxdepth 1 -type d \( -name src -o -name tests -o -name benchmarks -o -name examples -o -name scripts \) | sort)

if [ "${1:-}" = --fix ]; then
  "$VENV/bin/clang-format" -i "${cpp_sources[@]}"
  "$VENV/bin/ruff" check --fix "${python_dirs[@]}"
  "$VENV/bin/ruff" format "${python_dirs[@]}"
  exit 0
fi

failed=()
check() {
  local name="$1"
  shift
  say "$name"
  "$@" || failed+=("$name")
}
# Exact, as the Python tools: their verdict must be the same on every machine.
TYPESCRIPT=5.9.3
console_types() {
  local folder="$ROOT/build/lint"
  if [ "$(cat "$folder/node_modules/typescript/package.json" 2>/dev/null | sed -n 's/^ *"version": "\(.*\)",/\1/p')" != "$TYPESCRIPT" ]; then
    npm install --loglevel=error --no-save --no-audit --no-fund --prefix "$folder" "typescript@$TYPESCRIPT" || return
  fi
  "$folder/node_modules/.bin/tsc" -p scripts/tsconfig.console.json
}
check "clang-format" "$VENV/bin/clang-format" --dry-run --Werror "${cpp_sources[@]}"
check "ruff check" "$VENV/bin/ruff" check "${python_dirs[@]}"
check "ruff format" "$VENV/bin/ruff" format --check "${python_dirs[@]}"
check "mypy --strict" "$VENV/bin/mypy" --strict src/kvmstream
check "mypy --strict for Windows" "$VENV/bin/mypy" --strict --platform win32 --no-warn-unreachable src/kvmstream
check "tsc --checkJs" console_types
check "stub of kvmstream._core" "$PY" scripts/check_stub.py

if [ ${#failed[@]} -gt 0 ]; then
  die "lint failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')" \
    "make format mends what the formatters can; the stub: .venv/bin/python scripts/check_stub.py --update"
fi
say "lint passed"
