# Everything here sets itself up: `make demo` and `make test` need Python 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.DEFAULT_GOAL := help
.PHONY: help demo test check protos lock fault clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# The lock names everything, so nothing is left to resolve. Only a changed lock or pyproject.toml installs anew.
$(READY): requirements.lock pyproject.toml
	@echo "installing into $(VENV): some minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(READY) ## From two public data sets to three served networks
	@$(BIN)/flare demo

test: $(READY) ## The everyday tests
	@$(BIN)/python -m pytest -m "not fault and not bench"

fault: $(READY) ## Tests that kill, cut and fill things
	@$(BIN)/python -m pytest -m fault

check: $(READY) ## Style, types, contracts, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.check_protos
	$(BIN)/python tools/make_protos.py --check
	$(BIN)/python tools/make_sync_client.py --check
	$(BIN)/python -m tools.settings_page --check
	$(BIN)/python -m tools.limits_page --check
	@echo "all checks passed"

protos: $(READY) ## Remake all that is generated: code, synchronous client, reference, settings page
	$(BIN)/python tools/make_protos.py
	$(BIN)/python tools/make_sync_client.py
	$(BIN)/python -m tools.settings_page
	$(BIN)/python -m tools.limits_page

lock: ## Resolve the newest versions that pyproject.toml allows into requirements.lock
	$(PYTHON) tools/make_lock.py

clean: ## Remove what the targets made
	rm -rf $(VENV) .venv-protos .mypy_cache .ruff_cache .pytest_cache
