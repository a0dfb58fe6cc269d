.PHONY: check lint test slow site

check: lint test

lint:
	ruff check .
	mypy
	lint-imports --no-logo

test:
	pytest

slow:
	pytest -m slow

site:
	mkdocs build
