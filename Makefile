.PHONY: check lint test slow site sbom

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

sbom:
	python3 -m venv .sbom && .sbom/bin/pip install -q cyclonedx-bom
	.sbom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml -o sbom.json "$$(command -v python3)"
	rm -r .sbom
