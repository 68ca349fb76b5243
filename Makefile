# Two commands: `make demo` shows the road from an empty machine to rows in PostgreSQL, `make test` proves it.
# Each makes the environment by itself (.venv) and installs what is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint down bench clean
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fraudstream needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) (once, about a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/fraudstream up
	$(BIN)/fraudstream produce --count 20000 --rate max
	$(BIN)/fraudstream consume --once
	@echo
	@echo "Kafka and PostgreSQL still run: try $(BIN)/fraudstream produce, $(BIN)/fraudstream consume."
	@echo "Stop them with $(BIN)/fraudstream down; their data stays until $(BIN)/fraudstream reset."

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest

bench: $(VENV)/installed
	$(BIN)/fraudstream up
	$(BIN)/python benchmarks/produce.py
	$(BIN)/python benchmarks/consume.py
	$(BIN)/fraudstream down

down: $(VENV)/installed
	$(BIN)/fraudstream down

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
