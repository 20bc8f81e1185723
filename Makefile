# Two commands on a fresh machine that has Python 3.11 or newer and make: `make demo` and `make test`.
# Everything is installed into .venv, from the package registry, at the versions and hashes of requirements.lock.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?=
WORKERS ?= 3
ARGS ?=
CODE := data detector diagnosis training

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --progress-bar off --no-compile
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)

# Compiled modules are stored, also where the shell says not to: else every process compiles torch again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-full gpu test test-long docs faults fuzz versions mutation lint imports types format lock clean

help:  ## what this file can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'ARGS="…" is handed on to demo and test; PYTHON=… chooses the interpreter; WORKERS=… the test processes.'

demo: $(STAMP)  ## train, shuffle, score and diagnose a small detector (no GPU, no data to download)
	$(BIN)/python -m training.demo $(ARGS)

demo-full: $(STAMP)  ## the same in full: six trainings on more scenes, with three seeds (an hour and a half on one core)
	$(BIN)/python reproduce.py experiments/shapes.yaml $(ARGS)

# make gpu ARGS="--budget 8h --root cifar100=PATH voc=PATH"; again, it goes on.
gpu: $(STAMP)  ## as much of the paper as fits into a time on a GPU (ARGS="--root cifar100=PATH voc=PATH")
	$(BIN)/python reproduce.py all --out runs/gpu --parallel 4 --set precision=bf16-mixed $(if $(findstring --budget,$(ARGS)),,--budget 30m) $(ARGS)

PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=agg $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
test: $(STAMP)  ## run the tests and the examples in the docstrings, but for the long ones
	$(PYTEST) -m "not long" $(ARGS)

test-long: $(STAMP)  ## run the tests that take longest: compilation, clusters, real data, more figures
	$(PYTEST) -m long $(ARGS)

docs: $(STAMP)  ## build the site of docs/ in build/docs; a dead link or a wrong docstring is an error
	@$(BIN)/python -c "import furo, myst_parser" 2>/dev/null || $(INSTALL) --require-hashes --no-deps -r requirements-docs.lock
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/doctrees docs build/docs

faults: $(STAMP)  ## kill, fill and starve small runs for 30 minutes (ARGS="--faults kill --trials 5")
	OMP_NUM_THREADS=1 MPLBACKEND=agg $(BIN)/python -m tests.faults.run $(ARGS)

fuzz: $(STAMP)  ## feed every reader with broken input for 30 minutes (ARGS="--minutes 5 --targets coco_results")
	$(BIN)/python -c "import atheris" 2>/dev/null || $(INSTALL) "atheris>=3,<4" \
	  || echo "no atheris for this Python: inputs are changed at random, not guided by coverage"
	$(BIN)/python -m tests.fuzz.run $(ARGS)

# PYTHON=python3.13 RESOLUTION=highest: the newest packages on another Python. About 6 GB in build/versions.
# --no-config: pyproject.toml's [tool.uv] pins torch for the lock file. Of it only the override is wanted.
RESOLUTION ?= lowest-direct
versions: $(STAMP)  ## run the tests with the oldest packages that pyproject.toml admits, and compare numbers
	$(INSTALL) "uv>=0.5"
	$(BIN)/uv venv --no-config --quiet --clear --python $(or $(PYTHON),python3.11) build/versions
	echo "opencv-python ; sys_platform == 'never'" > build/overrides.txt
	$(BIN)/uv pip install --no-config --quiet --python build/versions --resolution $(RESOLUTION) \
	  --overrides build/overrides.txt -r pyproject.toml --extra train --extra cluster --extra dev --extra reference
	$(BIN)/uv pip install --no-config --quiet --python build/versions --no-deps --no-build-isolation --editable .
	$(BIN)/python -m tests.same_numbers > build/numbers.txt
	build/versions/bin/python -m tests.same_numbers > build/numbers-of-versions.txt
	diff build/numbers.txt build/numbers-of-versions.txt
	@echo "numbers identical: $$(wc -l < build/numbers.txt) lines"
	OMP_NUM_THREADS=1 MPLBACKEND=agg build/versions/bin/python -m pytest \
	  --numprocesses $(WORKERS) --dist worksteal $(ARGS)

# ARGS names what to change, as in ARGS='diagnosis.breakdown*'; all of it takes hours. What survives is listed.
mutation: $(STAMP)  ## change the code a little, again and again, and list what no test notices
	$(INSTALL) "mutmut>=3.8,<4"
	OMP_NUM_THREADS=1 MPLBACKEND=agg $(BIN)/mutmut run --max-children $(WORKERS) $(ARGS)
	$(BIN)/mutmut results

setup: $(STAMP)  ## install everything into .venv (the other commands do it by themselves)
	@echo "$(VENV) is ready"

# One interpreter that is new enough, a venv that works, the locked packages, then this package, editable.
# A second run, or one after an interruption, only does what is left to do.
$(STAMP): requirements.lock requirements-reference.lock pyproject.toml
	@new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	    if "$$python" -c "$$new_enough" 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "error: this needs Python 3.11 or newer; found $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.11 …" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$found" --version) ($$found)"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@echo "Installing requirements.lock into $(VENV): about 5 GB, most of it torch; a minute or two the first time"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --require-hashes --no-deps -r requirements-reference.lock
	@$(INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

lint: $(STAMP)  ## style: ruff's rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: $(STAMP)  ## which package may import which: import-linter
	$(BIN)/lint-imports

types: $(STAMP)  ## static types: mypy --strict
	$(BIN)/mypy

format: $(STAMP)  ## put the code into ruff's format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps the versions that are locked, as far as pyproject.toml still admits them; UPGRADE=1 takes the newest.
lock: $(STAMP)  ## write the lock files anew from pyproject.toml (UPGRADE=1: newest versions)
	$(INSTALL) "uv>=0.5"
	$(LOCK) --extra train --extra report --extra cluster --extra dev --output-file requirements.lock
	$(LOCK) --extra reference --constraints requirements.lock --no-emit-package opencv-python \
	  $$(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock) \
	  --output-file requirements-reference.lock
	$(LOCK) --extra docs --constraints requirements.lock \
	  $$(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.lock) --output-file requirements-docs.lock

clean:  ## remove .venv and everything that tools leave behind; runs/ stays
	rm -rf $(VENV) build dist mutants *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
