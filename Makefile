# Every habit of the project. `make` alone lists them; CI runs the same targets.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8501
DEMO   ?= .demo
JOBS   ?= 2
# Flags for installing torch, such as the index of its CPU builds: on Linux the default build
# brings CUDA along. pytorch.org's "Get Started" page tells the index for your machine.
TORCH_FLAGS ?=

BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
CODE   := app bench embedder finetune indexer recipes tests tools

.DEFAULT_GOAL := help
.PHONY: help setup demo app test check lint format types imports test-fast test-slow test-server test-gpu \
	bench bench-embed bench-train bench-gpu starter screenshot clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## make the environment in .venv

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_FLAGS) "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet -e '.[dev,ray,s3]'
	touch $@

demo: $(READY) ## search the sample pictures in the browser: environment, ingest, app
	$(BIN)/indexer ingest samples --store $(DEMO)
	@echo "Polylens is at http://localhost:$(PORT)"
	POLYLENS_STORE=$(DEMO) $(BIN)/streamlit run app/main.py --server.port $(PORT)

app: $(READY) ## open the app on your own collections
	$(BIN)/streamlit run app/main.py --server.port $(PORT)

test: $(READY) check ## the whole check: style, types, imports, tests

check: lint types imports test-fast ## the same in an environment that is there

lint: $(READY) ## style and formatting
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: $(READY) ## put the code in its one format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

types: $(READY) ## mypy, strict
	$(BIN)/mypy

imports: $(READY) ## imports run one way
	$(BIN)/lint-imports

test-fast: $(READY) ## all tests but the slow ones and those that need a GPU; JOBS at a time
	OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile -m "not slow and not gpu"

test-slow: $(READY) ## the tests that take minutes
	$(PYTEST) -m slow

test-server: $(READY) ## the tests of servers against the empty Qdrant at QDRANT_URL
	@test -n "$$QDRANT_URL" || { echo "set QDRANT_URL to an empty Qdrant server"; exit 2; }
	$(PYTEST) -m "server and not slow"

test-gpu: $(READY) ## the tests that need a GPU
	$(PYTEST) -m gpu

bench: $(READY) ## measure, and write docs/benchmarks.md; RCLIP=PYTHON measures that peer too
	$(BIN)/python -m bench $(if $(RCLIP),--rclip $(RCLIP))

bench-embed: $(READY) ## measure every family against its authors' recipe, small, on the CPU
	$(BIN)/python -m bench.embed --size small --random-weights --device cpu --ingest --publish

bench-gpu: $(READY) ## embedding and training with full-size models, on a GPU
	$(BIN)/python -m bench.embed --size full --random-weights --device cuda --ingest --publish \
	--images 128 --texts 1024
	$(BIN)/python -m bench.train --size full --random-weights --device cuda --publish \
	--batch 256 512 1024

bench-train: $(READY) ## measure training with and without GradCache, small, on the CPU
	$(BIN)/python -m bench.train --size small --random-weights --device cpu --publish

starter: $(READY) ## make the starter's head anew from registry packages
	$(BIN)/python -m recipes.starter

screenshot: $(READY) ## take the picture of the app that the README shows
	POLYLENS_SCREENSHOT=docs/images/app.png $(PYTEST) tests/app/test_browser.py

clean: ## remove the environment, caches and the demo's collection
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
