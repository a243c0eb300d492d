# knowswap_mm: the commands of everyday work. `make` alone lists them.

# A folder with prebuilt wheels (of onedl-mmcv above all). Empty: `make setup` compiles mmcv's operators, which takes 5
# to 20 minutes; `make demo` needs none.
WHEELS ?=
# The interpreter for a new .venv. Empty: the first of python3, python3.13 ... python3.10 that fits.
PYTHON ?=
# Options for `python -m venv`, e.g. --system-site-packages to keep the machine's own CUDA build of torch.
VENV_ARGS ?=
# What is installed when the environment has no torch yet.
TORCH ?= torch==2.13.0 torchvision==0.28.0
# More options for pytest, e.g. PYTEST_ARGS="-m 'not slow'".
PYTEST_ARGS ?=
# Processes that run tests. Each holds models of its own, so at most eight.
WORKERS ?= $(shell nproc 2>/dev/null | awk '{ print ($$1 < 8 ? $$1 : 8) }')

export WHEELS PYTHON VENV_ARGS TORCH

BIN := .venv/bin
# Two OpenMP threads on two busy cores wait for each other: small models are far faster with one.
ONE_THREAD := OMP_NUM_THREADS=1
TWO_THREADS := OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive KMP_BLOCKTIME=0

.DEFAULT_GOAL := help
.PHONY: help setup setup-light demo demo-detection demo-segmentation test lint format bench docs clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Build .venv with everything in it (WHEELS=, PYTHON=, VENV_ARGS=, TORCH=)
	@bash tools/setup/install.sh

setup-light: ## Build .venv with what a classifier needs: mmcv without operators
	@bash tools/setup/install.sh light

demo: setup-light ## Swap knowledge in a small model on the CPU
	$(ONE_THREAD) $(BIN)/python tools/demo.py

demo-detection: setup ## Swap knowledge in a small detector on the CPU
	$(TWO_THREADS) $(BIN)/python tools/demo.py --task detection --work-dir work_dirs/demo_detection

demo-segmentation: setup ## Swap knowledge in a small segmentor on the CPU
	$(TWO_THREADS) $(BIN)/python tools/demo.py --task segmentation --work-dir work_dirs/demo_segmentation

test: lint .venv/.docs-stamp ## Check the style and run all tests (WORKERS=, PYTEST_ARGS=)
	$(ONE_THREAD) $(BIN)/python -m pytest --numprocesses $(or $(WORKERS),2) --dist loadfile --max-worker-restart 0 --durations 20 --durations-min 20 $(PYTEST_ARGS)

lint: setup ## Check the style
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: setup ## Fix the style where a tool can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: setup ## Measure the time of a training step
	$(BIN)/python benchmarks/step_time.py classification

# Sphinx and its theme, once and after each change of their list; torch and the hosts stay as they are.
.venv/.docs-stamp: requirements/docs.txt | setup
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint .venv/.setup-constraints.txt -r requirements/docs.txt
	@touch $@

docs: .venv/.docs-stamp ## Build the site of docs/ into docs/_build/html
	$(ONE_THREAD) $(BIN)/python -m sphinx -W --keep-going -q -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "The site is docs/_build/html/index.html"

clean: ## Remove caches and build files
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Also remove .venv
	rm -rf .venv
