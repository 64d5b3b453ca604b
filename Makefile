# Two commands: `make book` builds the book, `make test` checks everything.
# `make help` lists the parts; each of them can be called by itself.

PYTHON ?= python3
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help book test setup vendor notebooks lint types unit shapes doctest \
        execute html pages serve clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

book: setup  ## set up, execute what changed, build the pages
	@$(PY) book/tools/check.py vendor notebooks execute html

test: setup  ## set up, then every check; ends with the counts
	@$(PY) book/tools/check.py --all

setup:  ## make .venv and install requirements.txt, if they changed
	@sh book/tools/setup.sh "$(PYTHON)"

vendor: setup  ## fetch the page assets (mathematics, widgets)
	@$(PY) book/tools/vendor.py

notebooks: setup  ## write the .ipynb of each chapter
	@$(PY) book/tools/notebooks.py

lint: setup  ## ruff: rules and format
	@$(PY) book/tools/check.py --only lint format

types: setup  ## mypy --strict
	@$(PY) book/tools/check.py --only types

unit: setup  ## unit and property tests
	@$(PY) book/tools/check.py --only unit

shapes: setup  ## the tests of the mechanisms under the run-time shape check
	@$(PY) book/tools/check.py --only shapes

doctest: setup  ## the examples in the docstrings
	@$(PY) book/tools/check.py --only doctest

execute: setup notebooks  ## execute the stale chapters
	@$(PY) book/tools/execute.py

html: setup vendor execute  ## build the pages from the executed chapters
	@$(PY) book/tools/build.py

pages: setup  ## chapter lint, and every page in headless Chromium
	@$(PY) book/tools/check.py --only pages

serve:  ## look at the book on http://localhost:8000
	@$(PY) -m http.server --directory _build/html --bind 127.0.0.1 8000

clean:  ## remove everything that was built; .venv stays
	rm -rf _build _executed book/static/vendor book/vendor/node_modules

distclean: clean  ## also remove .venv
	rm -rf .venv
