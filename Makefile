# Every task of the project. `make` alone lists them; CI runs the same targets.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8501
DEMO   ?= .demo
JOBS   ?= 3
# Flags for installing PyTorch. On Linux without an NVIDIA GPU its CPU build is taken, which is a tenth of
# the size; where that index cannot be reached, the default build. pytorch.org's "Get Started" page
# names the index for other machines: make setup TORCH_FLAGS="--index-url URL"
NVIDIA := $(wildcard /proc/driver/nvidia)$(shell command -v nvidia-smi 2>/dev/null)
ifeq ($(shell uname)$(NVIDIA),Linux)
TORCH_FLAGS ?= --index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 15
endif

BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
APP    := $(VENV)/.app
PIP    := $(BIN)/python -m pip install $(if $(CI),--quiet)
PYTEST := $(BIN)/python -m pytest
# Bytecode is cached whatever the environment says: the tests start many processes.
FAST   := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder
CODE   := app bench embedder finetune indexer recipes tests tools

.DEFAULT_GOAL := help
.PHONY: help setup demo app test check quick lint format types imports docs \
	test-fast coverage test-slow test-server test-gpu mutation \
	bench bench-quality bench-embed bench-train bench-gpu starter screenshots release-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create the environment in .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Polylens needs Python \
	3.11 or newer, and this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)

$(READY): requirements.txt pyproject.toml | $(BIN)/python
	$(if $(TORCH_FLAGS),-$(PIP) --no-deps $(TORCH_FLAGS) "$$(grep '^torch==' requirements.txt)")
	$(PIP) -r requirements.txt -e '.[dev]'
	@touch $@ $(APP)

# what the demo needs, in the same environment: without PyTorch
$(APP): pyproject.toml | $(BIN)/python
	@echo "Installing Polylens and its app in $(VENV): about 250 MB to download"
	$(PIP) -e '.[app]'
	@touch $@

demo: $(APP) ## search the sample pictures in the browser: environment, ingest, app
	$(BIN)/indexer ingest samples --store $(DEMO)
	$(BIN)/polylens app --store $(DEMO) --port $(PORT)

app: $(APP) ## open the app on your own collections
	$(BIN)/polylens app --port $(PORT)

test: $(READY) check ## all checks: style, types, imports, tests

check: lint types imports test-fast ## the same in an existing environment

quick: lint ## style and the quick tests, in less than a minute
	$(FAST) -m "not slow and not gpu and not long"

lint: $(READY) ## style and formatting
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: $(READY) ## format the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

types: $(READY) ## mypy, strict
	$(BIN)/mypy

imports: $(READY) ## the layers, and no import circles
	$(BIN)/lint-imports

docs: $(READY) ## write the generated parts of the docs again
	$(BIN)/python -m tools.generate_settings
	$(BIN)/python -m tools.generate_cli_docs
	$(BIN)/python -m tools.generate_scaling_docs

test-fast: $(READY) ## all tests but the slow ones and those that need a GPU; JOBS at a time
	$(FAST) -m "not slow and not gpu"

coverage: $(READY) ## the same tests, with the lines they cover
	$(FAST) -m "not slow and not gpu" --cov --cov-report=term:skip-covered --cov-report=html

test-slow: $(READY) ## the tests that take minutes
	$(PYTEST) -m slow

test-server: $(READY) ## the tests of servers against the empty Qdrant at QDRANT_URL
	@test -n "$$QDRANT_URL" || { echo "set QDRANT_URL to an empty Qdrant server"; exit 2; }
	$(PYTEST) -m "server and not slow"

test-gpu: $(READY) ## the tests that need a GPU
	$(PYTEST) -m gpu

mutation: $(READY) ## test the tests: which changes of the code does none notice? SAMPLE=25 of each module
	$(PIP) "$$($(BIN)/python -c 'from tools.mutation import REQUIREMENT; print(REQUIREMENT)')"
	$(BIN)/python -m tools.mutation $(if $(SAMPLE),--sample $(SAMPLE)) --jobs $(JOBS)

bench: $(READY) ## run the benchmarks and write docs/benchmarks.md; RCLIP=PYTHON measures rclip too
	$(BIN)/python -m bench $(if $(RCLIP),--rclip $(RCLIP))

bench-quality: $(READY) ## measure whether searches find what they should; writes docs/quality.md
	$(BIN)/python -m bench.quality --samples --write
	$(BIN)/python -m bench.quality --split test --write
	$(BIN)/python -m bench.strength --split test --write
	$(BIN)/python -m bench.bm25 --write
	$(BIN)/python -m bench.caption_vectors --write

bench-embed: $(READY) ## measure every family against its authors' recipe, small, on the CPU
	$(BIN)/python -m bench.embed --size small --random-weights --device cpu --ingest --publish

bench-gpu: $(READY) ## embedding and training with full-size models, on a GPU
	$(BIN)/python -m bench.embed --size full --random-weights --device cuda --ingest --publish \
	--images 128 --texts 1024
	$(BIN)/python -m bench.train --size full --random-weights --device cuda --publish \
	--batch 256 512 1024

bench-train: $(READY) ## measure training with and without GradCache, small, on the CPU
	$(BIN)/python -m bench.train --size small --random-weights --device cpu --publish

starter: $(READY) ## train the starter's head from registry packages
	$(BIN)/python -m recipes.starter
	$(BIN)/python -m recipes.noun_bank

screenshots: $(READY) ## take the pictures of the app that the docs show
	$(BIN)/python -m tools.screenshots

release-check: | $(BIN)/python ## build the wheel, install it elsewhere, and search the samples with it
	$(BIN)/python -m tools.check_release

clean: ## remove the environment, caches and the demo's collection
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage htmlcov \
		mutants
