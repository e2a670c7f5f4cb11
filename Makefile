# Everything runs from .venv: no shell has to activate it. `make` alone explains itself.
PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NEOX_STAMP := $(VENV)/.installed-neox
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help venv neox peers demo study quick test lint bench bench-neox clean

help:
	@echo "make venv    create $(VENV) and install the pinned versions of constraints.txt (PYTHON=$(PYTHON))"
	@echo "make neox    add DeepSpeed and what a GPT-NeoX checkout imports; Linux only, needed to train with it"
	@echo "make peers   create $(PEERS) with a proxy of language models that others wrote, for the tests that ask it"
	@echo "make demo    train, scan, rank, mask and retrain a small model on this machine; results in demo/"
	@echo "make study   is a ranking worth its cost? five seeds on natural text; results in study/"
	@echo "make quick   run the tests that need no trainer, no demo and no kill"
	@echo "make test    run the tests (PYTEST_ARGS='-k plan' picks some)"
	@echo "make lint    ruff, ruff format and mypy"
	@echo "make bench   measure speed against plain passes (bench-neox: in the official trainer, against plain training)"
	@echo "make clean   remove $(VENV), $(PEERS), caches and demo/"
	@echo
	@echo "demo, study, test, lint and bench make $(VENV) first where it is missing or out of date; test, lint, bench-neox"
	@echo "then do what 'make neox' does, and go on without it where it cannot be done. Tests that need 'make peers' skip."
	@echo "After that: $(BIN)/curator --help, and $(BIN)/curator doctor for what this machine has."

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed, and '$(PYTHON)' is" \
	    "$$("$(PYTHON)" --version 2>&1 || true). Say which to use: make venv PYTHON=python3.11" >&2; exit 1; }
	@echo "Creating $(VENV) and installing; a few minutes the first time."
	"$(PYTHON)" -m venv $(VENV)
	$(PIP) -e '.[dev]'
	@touch $(STAMP)

neox: $(NEOX_STAMP)

# DeepSpeed is built against the torch that is there, so without isolation, and compiles nothing now.
$(NEOX_STAMP): $(STAMP)
	@if [ "$$(uname -s)" != Linux ]; then \
	  echo "DeepSpeed needs Linux: not installed. The tests that train with GPT-NeoX will skip." >&2; \
	elif $(PIP) setuptools && \
	  DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(PIP) --no-build-isolation -e '.[dev,neox]'; then \
	  touch $(NEOX_STAMP); \
	else \
	  echo "DeepSpeed could not be installed (see above). The tests that train with GPT-NeoX will skip." >&2; \
	fi

peers: $(PEERS_STAMP)

$(PEERS_STAMP): tests/peers/requirements.txt
	"$(PYTHON)" -m venv $(PEERS)
	@if $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<; then \
	  touch $(PEERS_STAMP); \
	else \
	  echo "The proxy could not be installed (see above). The tests that ask it will skip." >&2; \
	fi

demo: $(STAMP)
	$(BIN)/curator demo --out demo

study: $(STAMP)
	$(BIN)/curator study run natural --out study --seeds 5

# Two processes share the cores: a second thread of PyTorch in each would only be in the way.
quick test: export OMP_NUM_THREADS ?= 1
# What is compiled is kept for the next run, whatever the machine has set: a tenth of a quick one.
quick test: export PYTHONDONTWRITEBYTECODE =

# What needs no trainer, no demo, no process that is killed and no generated code that runs.
quick: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal -m "not neox and not kill and not demo and not sandbox and not slow" $(PYTEST_ARGS)

# Two processes: the tests that train with GPT-NeoX are many short runs of one thread each.
test: $(NEOX_STAMP)
	$(BIN)/pytest -n 2 --dist worksteal $(PYTEST_ARGS)

lint: $(NEOX_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sample_statistics.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/curves.py --shape study

bench-neox: $(NEOX_STAMP)
	$(BIN)/python benchmarks/neox.py

clean:
	rm -rf $(VENV) $(PEERS) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
