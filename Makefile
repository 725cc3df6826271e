# Two commands from a fresh clone: `make demo` and `make test`. Both make their own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: demo test coverage check fmt docs site clean

$(BIN)/comp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(BIN)/comp
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/comp  ## a fresh machine to a submission CSV on the built-in digits
	mkdir -p demo
	$(BIN)/comp run digits --folds 5 --workspace demo

test: $(VENV)/.dev  ## installs what tests need and runs the default suite
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

coverage: $(VENV)/.dev  ## the share of lines that the default suite runs, and its floor
	$(MAKE) test PYTEST_ARGS="-m 'not slow and not real and not gpu' --cov=comp --cov-report=term --cov-fail-under=70"

check: $(VENV)/.dev  ## lint and types
	$(BIN)/ruff check comp competitions tests benchmarks
	$(BIN)/ruff format --check comp competitions tests benchmarks
	$(BIN)/mypy

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix comp competitions tests benchmarks
	$(BIN)/ruff format comp competitions tests benchmarks

docs: $(BIN)/comp  ## writes the generated references of the command line, of recipes and of competition.toml
	$(BIN)/python -m comp.cli.docs > docs/cli.md
	$(BIN)/python -m comp.cli.recipe_docs > docs/recipe.md
	$(BIN)/python -m comp.cli.competition_docs > docs/competition.md
	$(BIN)/python -m comp.cli.check_docs > docs/checks.md

$(VENV)/.site: $(BIN)/comp
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

site: $(VENV)/.site  ## the documentation as pages, in site/; a broken link stops it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site
