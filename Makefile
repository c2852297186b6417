# The two commands of the README are `make quickstart` and `make test`.
PYTHON ?= python3
SIZE ?= quickstart
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
EXTRAS := train,serve,eval,cpu,quickstart,hub,prepare,dev
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: install demo quickstart variants test test-all test-deps serve ui lint clean comet harness gpu-parcels gpu-rehearsal

install: .venv/installed

# torch comes first and by pip, at its pinned version; the rest by uv where it is installed
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[$(EXTRAS)]"; \
	else $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"; fi
	touch $@

# a toy model of the package hears a clip, then the page of the service
demo: install
	$(BIN)/spire demo

quickstart: install
	$(BIN)/spire run configs/quickstart/$(SIZE).yaml

# the five models of the paper's ablation at toy size, then MLflow: compare the runs Spire* and TowerFull
variants: install
	$(BIN)/spire run configs/quickstart/variants.yaml
	$(MAKE) ui

test: install .helm/helm
	$(BIN)/pytest -m "not long and not gpu"

test-all: install .helm/helm
	$(BIN)/pytest -m "not gpu"

# what some of these need from Debian; a test whose program is not there says that it is skipped
test-deps:
	apt-get install --yes --no-install-recommends chromium g++ prometheus util-linux

# helm, kubectl and hadolint, for the tests of cluster/
.helm/helm: .ci/helm.py
	$(BIN)/python .ci/helm.py

serve: install
	$(BIN)/spire serve --config configs/quickstart/serve.yaml keep=true

ui: install
	$(BIN)/spire ui

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# what a GPU machine has: Python 3.12, PyTorch for CUDA 13 (gigabytes), and no Ray, DeepSpeed or MLflow
GPU_PYTHON ?= python3.12
GPU_MACHINE ?= .gpu/machine

$(GPU_MACHINE)/bin/python:
	$(GPU_PYTHON) -m venv $(GPU_MACHINE)
	$(GPU_MACHINE)/bin/python -m pip install --quiet -r benchmarks/gpu/machine.txt
	$(GPU_MACHINE)/bin/python -m pip uninstall --quiet --yes pydantic pydantic-core

# wheels that travel to one, below .parcels/
gpu-parcels: $(GPU_MACHINE)/bin/python
	PYTHON=$(GPU_MACHINE)/bin/python benchmarks/gpu/pack.sh

# the entries of the GPU day at tiny sizes on this CPU, with the very parcels: benchmarks/gpu/README.md
gpu-rehearsal: $(GPU_MACHINE)/bin/python
	test -d .parcels || $(MAKE) gpu-parcels
	rm -rf .gpu/site
	PYTHON=$(GPU_MACHINE)/bin/python SITE=.gpu/site benchmarks/gpu/run.sh --rehearse --output .gpu
	$(GPU_MACHINE)/bin/python -m benchmarks.gpu --collect .gpu/results.tar

# unbabel-comet in an environment of its own, which wants older packages: comet.python=.comet/bin/python
comet: .comet/installed

.comet/installed: constraints-comet.txt
	test -x .comet/bin/python || $(PYTHON) -m venv .comet
	.comet/bin/python -m pip install --quiet $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints-comet.txt)
	.comet/bin/python -m pip install --quiet -c constraints-comet.txt unbabel-comet "setuptools<81"
	.comet/bin/python -c "import comet"
	touch $@

# lm-evaluation-harness beside the platform, which does without the fifteen packages that it brings: the stage harness
harness: .harness/installed

.harness/installed: constraints.txt
	test -x .harness/bin/python || $(PYTHON) -m venv .harness
	.harness/bin/python -m pip install --quiet $(TORCH)
	.harness/bin/python -m pip install --quiet -c constraints.txt "lm-eval[hf]==0.4.13"
	.harness/bin/python -c "import lm_eval"
	touch $@

clean:
	rm -rf .venv runs mlflow.db mlartifacts
