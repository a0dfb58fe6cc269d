.PHONY: check lint test

check: lint test

lint:
	ruff check .
	mypy
	lint-imports --no-logo

test:
	pytest
