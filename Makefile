# Everything here runs from a fresh clone with Python 3.11 or later, git and make.
# `make test PYTEST_ARGS="-k gate -x"` passes words on to pytest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-wheel check bench lock clean

UV_VERSION := 0.13.9
BIN := .venv/bin
LOCKED := .venv/.locked
READY := .venv/.ready

# Without bytecode every process starts three times slower.
unexport PYTHONDONTWRITEBYTECODE
# DVC starts `python -m modelbook`, and the user's own environment must not leak into ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## make an example project in demo/ and run it
	@test -e demo/config/config.yaml || $(BIN)/modelbook init demo --example housing
	@$(BIN)/modelbook -C demo run

test: $(READY) ## run the tests that take minutes at most
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(PYTEST_ARGS)

test-slow: $(READY) ## run the tests that take longer
	$(BIN)/pytest -m slow $(PYTEST_ARGS)

test-wheel: $(READY) ## build the wheel and test it as users get it
	rm -rf dist
	$(BIN)/uv build --quiet --wheel --out-dir dist
	$(BIN)/uv venv --quiet --python $(BIN)/python dist/venv
	$(BIN)/uv pip install --python dist/venv/bin/python --quiet --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python dist/venv/bin/python --quiet --compile-bytecode --no-deps dist/*.whl
	PATH="$(CURDIR)/dist/venv/bin:$$PATH" dist/venv/bin/pytest tests/e2e $(PYTEST_ARGS)

check: $(READY) ## format, lint, types, order of the rooms
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure against the same work by hand
	$(BIN)/python benchmarks/bench_run.py
	$(BIN)/python benchmarks/bench_record.py
	$(BIN)/python benchmarks/bench_predict.py
	$(BIN)/python benchmarks/bench_data.py
	$(BIN)/python benchmarks/bench_sweep.py
	$(BIN)/python benchmarks/bench_gate.py
	$(BIN)/python benchmarks/bench_promotion.py
	$(BIN)/python benchmarks/bench_runs.py
	$(BIN)/python benchmarks/bench_models.py
	$(BIN)/python benchmarks/bench_serving_rows.py
	for model in forest lightgbm logistic own; do $(BIN)/python benchmarks/bench_serving.py --model $$model; done

lock: $(READY) ## bring requirements.lock in line with pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras --group dev \
		--custom-compile-command "make lock" $(UPGRADE) pyproject.toml -o requirements.lock

clean: ## remove everything that these targets made, demo/ too
	rm -rf .venv demo dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is written last: an installation that was cut off is taken up again.
$(READY): $(LOCKED) pyproject.toml
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(LOCKED): requirements.lock
	@for python in python3 python3.14 python3.13 python3.12 python3.11 ""; do \
		test -n "$$python" || { echo "error: no Python 3.11 or later on PATH" >&2; exit 1; }; \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	"$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --require-hashes -r requirements.lock
	@touch $@
