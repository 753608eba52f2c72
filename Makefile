# The commands of README.md and CONTRIBUTING.md; all of them use .venv, which the first one makes, except test-lowest.
PYTHON ?= python3
SUITE = -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-slow test-gpu test-lowest test-transformers report stage eval-zoo lint style
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rnnzoo needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# pip reads the first variable for what it installs and, from 25.3 on, the second for what it builds that with.
.venv-lowest/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	grep -oE '[a-z0-9_-]+>=[0-9.]+' pyproject.toml | sed 's/>=/==/' > .venv-lowest/lowest.txt
	PIP_CONSTRAINT=$(CURDIR)/.venv-lowest/lowest.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/.venv-lowest/lowest.txt \
		.venv-lowest/bin/python -m pip install --quiet --editable '.[dev,bench]'
	touch $@

demo: .venv/installed  ## train an LSTM, evaluate it, and classify two reviews
	@.venv/bin/python -m recipes.demo

test: .venv/installed  ## the default test suite, offline
	@.venv/bin/python -m pytest $(SUITE)

test-slow: .venv/installed  ## the long tests, which write tests/RELIABILITY.md
	@.venv/bin/python -m pytest -q -m 'slow and not gpu'

test-gpu: .venv/installed  ## the tests that need a GPU
	@.venv/bin/python -m pytest -q -m gpu

test-lowest: .venv-lowest/installed  ## the default suite with the lowest versions of pyproject.toml; with PYTHON=python3.10, the oldest Python too
	@.venv-lowest/bin/python -m tests.support.lowest $(SUITE)

test-transformers: .venv/installed  ## transformers' own common tests on every class, with CLONE=<of transformers> those of generate() too; they write tests/TRANSFORMERS.md
	@.venv/bin/python -m tests.support.transformers_common $(CLONE)

report: .venv/installed  ## tables, pictures and cards, from the results.json files that are committed
	@.venv/bin/python -m recipes.report
	@.venv/bin/python -m recipes.zoo

stage: .venv/installed  ## the checkpoints as the Hub has them, with code and results.json, in build/model_cards
	@.venv/bin/python -m recipes.stage

eval-zoo: .venv/installed  ## every checkpoint on its entire test split, compared with its card; needs the real data
	@.venv/bin/python -m recipes.eval_zoo

lint: .venv/installed  ## check the style
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

style: .venv/installed  ## fix the style
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .
