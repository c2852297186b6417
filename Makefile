# The two commands of the README are `make quickstart` and `make test`.
PYTHON ?= python3
SIZE ?= quickstart
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
EXTRAS := train,serve,eval,cpu,quickstart,dev
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: install quickstart variants test test-all serve ui lint clean

install: .venv/installed

# torch comes first and by pip, at its pinned version; the rest by uv where it is installed
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[$(EXTRAS)]"; \
	else $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"; fi
	touch $@

quickstart: install
	$(BIN)/spire run configs/quickstart/$(SIZE).yaml

# the five models of the paper's ablation at toy size, then MLflow: compare the runs Spire* and TowerFull
variants: install
	$(BIN)/spire run configs/quickstart/variants.yaml
	$(MAKE) ui

test: install
	$(BIN)/pytest -m "not long and not gpu"

test-all: install
	$(BIN)/pytest -m "not gpu"

serve: install
	$(BIN)/spire serve --config configs/quickstart/serve.yaml keep=true

ui: install
	$(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs mlflow.db mlartifacts
