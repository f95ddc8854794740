# Every target is one command; `make check` is what CI runs.
.PHONY: check lint format types test schema docs lock
PYTHON := .venv/bin/python

check:
	scripts/test

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/shellcheck $(shell git ls-files -co --exclude-standard scripts .ci | xargs grep -lE '^#!.*\b(ba)?sh\b')
	.venv/bin/hadolint $(shell git ls-files -co --exclude-standard 'docker/*Dockerfile')

types:
	.venv/bin/mypy

test:
	.venv/bin/pytest

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
