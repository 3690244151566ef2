# Everything runs in .venv, made on first use with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
POOLER := $(VENV)/.pgbouncer
# More than two cores: the tests wait for processes and locks a third of their time.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-quick test-sqlalchemy-2.0 lint format types check coverage bench reference pictures \
        db-upgrade db-downgrade db-migration pins clean

help:  ## Show this list
	@grep -hE '^[a-z0-9.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

$(STAMP): pyproject.toml constraints.txt clarinet_cli/__init__.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

# The tests of poolers run with a stand-in, and also with pgbouncer where there is a package of it.
$(POOLER): $(STAMP)
	tests/fetch_pgbouncer.sh $(VENV)/pgbouncer
	@touch $@

install: $(STAMP) $(POOLER)  ## Make .venv and install the package with its tools

quickstart: $(STAMP)  ## Install, make a SQLite database with an administrator, look at it
	$(BIN)/clarinet db init --generate-password
	$(BIN)/clarinet session stats

test: $(STAMP) $(POOLER)  ## Run the whole suite, real PostgreSQL included
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

coverage: $(STAMP) $(POOLER)  ## Run the suite and show what it does not reach
	$(BIN)/coverage erase
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-fail-under=95

# fastapi-users' own adapter wants SQLAlchemy below 2.1: both are in an environment of their own.
OLD := .venv-sqlalchemy-2.0
$(OLD)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLD)
	$(OLD)/bin/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	grep -vi '^sqlalchemy==' constraints.txt > $(OLD)/constraints.txt
	$(OLD)/bin/python -m pip install --quiet --constraint $(OLD)/constraints.txt --editable . \
	  --group test 'sqlalchemy<2.1' 'fastapi-users[sqlalchemy]'
	@touch $@

test-sqlalchemy-2.0: $(OLD)/.installed  ## Test the parts that differ there with SQLAlchemy 2.0
	$(OLD)/bin/python -m pytest -n $(WORKERS) --dist worksteal tests/embed \
	  tests/mapping/test_documented_application.py tests/mapping/test_inspect.py \
	  tests/database/test_readable_passwords.py tests/faults/test_commit.py tests/cli/test_exit_codes.py

bench: $(STAMP)  ## Measure against references: make bench ARGS="--full clean-pg"; ARGS=--help
	$(BIN)/python -W "ignore:XDG_RUNTIME_DIR is not set" -m tests.benchmarks $(ARGS)

lint: $(STAMP)  ## Formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## Type check
	$(BIN)/mypy

format: $(STAMP)  ## Format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint types test  ## What CI runs

reference: $(STAMP)  ## Write docs/reference.md from the program's help
	$(BIN)/python docs/make_reference.py

pictures: $(STAMP)  ## Write docs/pictures from the tests' database
	$(BIN)/python docs/make_pictures.py

db-upgrade: $(STAMP)  ## Bring the schema to head
	$(BIN)/alembic upgrade head

db-downgrade: $(STAMP)  ## Take the schema back one revision
	$(BIN)/alembic downgrade -1

db-migration: $(STAMP)  ## Write a revision: make db-migration m="add a column"
	@test -n "$(m)" || { echo 'error: say what it does: make db-migration m="…"' >&2; exit 2; }
	$(BIN)/alembic revision --autogenerate -m "$(m)"

pins:  ## Renew constraints.txt from the newest versions
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip list --format=freeze --exclude-editable | grep -E '^pip='; \
	  $(BIN)/pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
	@touch $(STAMP)

clean:  ## Remove the environment and the caches
	rm -rf $(VENV) $(OLD) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
