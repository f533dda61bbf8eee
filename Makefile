# Two commands from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# Runs of the demo at once; each process takes about 0.8 GB.
JOBS ?= 2
# Test processes at once, each with a thread of its own. Neighbours stay together, which share what
# takes long to prepare, until one process has nothing left.
TEST_JOBS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

.PHONY: help demo test bench-once browser lint types bench ui clean

help:
	@echo "make demo     install, run every selector on digits under two noises, write the leaderboard"
	@echo "make test     run the whole test suite"
	@echo "make browser  test the pages in a real browser (needs a Chromium)"
	@echo "make lint     ruff, check and format"
	@echo "make types    mypy --strict"
	@echo "make bench    timings of noise, scoring, selection and training"
	@echo "make ui       open MLflow on the demo's runs"

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "nlbench needs Python >= 3.10; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on -e '.[test]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

.venv/installed-browser: .venv/installed
	$(BIN)/python -m pip install --quiet -e '.[browser]'
	@touch $@

demo: .venv/installed
	$(BIN)/nlbench sweep tools/demo.yaml --jobs $(JOBS)
	$(BIN)/nlbench leaderboard

test: .venv/installed
	$(PYTEST)

# Every timing once, without timing it: so that what measures keeps working.
bench-once: .venv/installed
	$(PYTEST) tests/benchmarks -m bench -q --deselect tests/benchmarks/test_bench_leaderboard.py

browser: .venv/installed-browser
	$(PYTEST) tests -m browser

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m pytest tests/benchmarks -m bench --benchmark-enable --benchmark-columns=min,median,max,rounds

ui: .venv/installed
	$(BIN)/nlbench ui

clean:
	rm -rf .venv build dist .tox .pytest_cache .mypy_cache .ruff_cache
