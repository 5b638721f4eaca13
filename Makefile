# Two targets do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# A process a core and one more, as many tests wait for a server; those of a file share what they set up.
PYTEST := $(BIN)/pytest -n $(shell expr $$(nproc) + 1) --dist loadfile
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: demo test test-slow test-all argilla-tests lint lock clean

demo: .venv/.installed
	$(BIN)/uncited demo $(DEMO_ARGS)

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

test-slow: .venv/.installed
	$(PYTEST) -m slow

# Argilla's own unit tests against the local server's parts; `make test-all` runs them too.
argilla-tests: .venv/.installed
	$(BIN)/python tests/argilla_yardstick.py

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# Write constraints.txt anew from what is installed; review the difference before committing it.
lock: .venv/.installed
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' | LC_ALL=C sort -f > constraints.txt

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
