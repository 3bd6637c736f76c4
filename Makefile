# Short names for what the scripts do.
.DEFAULT_GOAL := help
.PHONY: help start stop check unit test format lock

BIN := .venv-tests/bin

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

start: ## Start the system
	./start.sh

stop: ## Stop the system; data stays
	./start.sh --stop

check: ## Static checks: ruff, mypy, import-linter, shellcheck, hadolint
	tests/run.sh check

unit: ## Tests that need no container engine
	tests/run.sh unit

test: ## Every test, in a system of its own
	tests/run.sh

format: ## Format the Python code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: ## Pin the test requirements again: hashes, and the product's own versions
	cd tests && ../$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
	  --custom-compile-command "make lock" --override overrides.txt -c ../function-runner/requirements.txt \
	  -c ../functions/train/requirements.txt -c ../functions/predict/requirements.txt -o requirements.txt requirements.in
