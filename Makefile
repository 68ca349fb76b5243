# Two commands: `make demo` shows a first explained alert on an empty machine, `make test` proves what the README says.
# Each makes the environment by itself (.venv) and installs what is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Some images set it to save room. The hundreds of commands that the tests run would each compile all of fraudstream.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint faults down bench clean fuzz
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fraudstream needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) (once, one to three minutes) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

# What the tests need on top is a third of the installing, which nobody waits for who only wants to see the demo.
$(VENV)/tools: $(VENV)/installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/fraudstream demo --duration 60

lint: $(VENV)/tools
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two workers, each with services of its own: most tests wait for a service, so the run takes little more than half as long.
# The checkers of `lint` are among the tests (tests/checks).
test: $(VENV)/tools
	$(BIN)/pytest -n 2 --dist worksteal --durations=20

faults: $(VENV)/tools
	PYTHONPATH=tests $(BIN)/python -m campaign.run --faults 100 --seed 1

bench: $(VENV)/tools
	$(BIN)/fraudstream bench

down: $(VENV)/installed
	$(BIN)/fraudstream down

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

MINUTES ?= 10

fuzz: $(VENV)/tools
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES)
