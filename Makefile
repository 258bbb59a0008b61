# Every target does its own set-up from nothing and may be run again. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-record test soak lint format bench bench-encoders clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	  while IFS=$$'\t' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo '  PYTHON=/path/to/python3.12   another interpreter than the first that fits'
	@echo '  FFMPEG_PATH=/opt/ffmpeg      another FFmpeg than the system'"'"'s'
	@echo '  SOAK_MINUTES=10              minutes for each fuzz target of make soak'

demo: ## a hub and an agent on this machine: prints a URL; whoever opens it sees this screen and drives it
	@scripts/demo.sh

demo-record: ## record 10 s of a real X screen with the native core
	@scripts/demo_record.sh

test: ## all C++ and Python tests, native and fallback, on a private Xvfb
	@scripts/test.sh

soak: ## the long forms: sanitizers, fuzzing, memory, repeats; writes docs/soak-report.md
	@scripts/soak.sh

lint: ## clang-format, ruff, mypy --strict, the stub of the native module
	@scripts/lint.sh

format: ## let clang-format and ruff rewrite the sources
	@scripts/lint.sh --fix

bench: ## benchmarks/compare_backends.py on a private Xvfb
	@scripts/bench.sh

bench-encoders: ## benchmarks/encoders.py: our encoder beside x264 and OpenH264
	@scripts/bench_encoders.sh

clean: ## remove what these targets made (virtual environments and builds)
	rm -rf build dist .venv .venv-pure .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.mp4
