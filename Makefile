# Two commands for a fresh clone: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= pruner=script budget=64
unexport PYTHONDONTWRITEBYTECODE # where it is set, every process would compile torch and transformers anew

.PHONY: help run test lint sweep speed table clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

run: .venv/ready  ## run one cell, e.g. make run ARGS="pruner=fastv budget=32"
	$(BIN)/python runners/run.py $(ARGS)

# The slow tests mostly wait, so there is one process more than cores.
test: .venv/ready-dev  ## run the tests; SLOW=1 adds the slow ones: kills, time-outs, notebooks, 10,000 runs
	$(BIN)/python -m pytest $(if $(SLOW),-n $$(($$(getconf _NPROCESSORS_ONLN) + 1)),-m "not slow")

lint: .venv/ready-dev  ## check format, lint, types, and that packages import downwards only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

sweep: .venv/ready  ## run the sweep behind the table in the README
	$(BIN)/python runners/run.py -m experiment=readme

speed: .venv/ready  ## measure the tables of docs/speed.md on this machine
	$(BIN)/python benchmarks_speed/all.py

table: .venv/ready  ## make tables and figures of all finished runs
	$(BIN)/python analysis/make.py

clean:  ## remove the environment (keeps the runs in outputs/)
	rm -rf .venv

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[slurm]'
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[slurm,dev]'
	touch $@
