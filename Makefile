.PHONY: check lint test slow

check: lint test

lint:
	ruff check .
	mypy
	lint-imports --no-logo

test:
	pytest

slow:
	pytest -m slow
