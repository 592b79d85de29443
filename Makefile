# Everything a newcomer needs. `make demo` and `make test` do their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow check format docs figures notebooks golden install clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kaiffin needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev]'
	touch $(READY)

install: $(READY)

demo: $(READY)  ## teach the miniature Kaiffin and show it in new scenes
	$(BIN)/kaiffin demo --out demo

check: $(READY)  ## format, lint and sizes, types, import contracts, shared lines, the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check
	$(BIN)/lint-imports
	$(BIN)/python tools/house.py

test: check  ## the checks, then the default test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(READY)  ## the long tests: full-size UNets, many kills
	$(BIN)/python -m pytest -m slow

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## renew the generated parts of the pages, then the site: build/docs/index.html
	$(BIN)/python tools/house.py --write
	$(BIN)/python tools/reference.py --write
	$(BIN)/sphinx-build --quiet -W --keep-going -b html docs build/docs

figures: $(READY)  ## compute the figures of docs/ideas anew, some minutes
	OMP_NUM_THREADS=1 $(BIN)/python tools/figures

notebooks: $(READY)  ## run notebooks/*.py from top to bottom and make the .ipynb of them
	OMP_NUM_THREADS=1 $(BIN)/python tools/notebooks.py

golden: $(READY)  ## store the golden numbers anew, where a change is meant to move them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_golden.py -n 0 --renew-golden

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
