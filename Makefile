.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export OPENBLAS_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0

.PHONY: help setup run seed test lint type format bench regression wheel clean
.PHONY: flink-up flink-down spark-up spark-down prism test-clusters test-dataflow

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## Install everything into .venv

.venv/installed: EXTRAS := dev
# Of its own: Beam starts slower where Google's libraries are.
.venv-dataflow/installed: EXTRAS := test,dataflow
.venv/installed .venv-dataflow/installed: setup.py
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip setuptools wheel
	$(@D)/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

run: setup ## Cluster the colours of a photograph, and draw it before and after
	$(BIN)/python -m examples.palette

seed: setup ## The run that the project began from, beside its printed table
	$(BIN)/python -m examples.seed

test: setup ## Run all tests but those for clusters and Dataflow
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup

flink-up: setup ## Start Flink, Beam's job server and a worker pool on this machine
	$(BIN)/python -m cluster flink-up

flink-down: setup ## End them
	$(BIN)/python -m cluster flink-down

spark-up: setup ## Start Spark, Beam's job server and a worker pool on this machine
	$(BIN)/python -m cluster spark-up

spark-down: setup ## End them
	$(BIN)/python -m cluster spark-down

prism: setup ## Build Prism and print where it is
	$(BIN)/python -m cluster prism

test-clusters: setup ## Run the job on Flink, Spark and Prism, faults included
	$(BIN)/python -m pytest tests/clusters

test-dataflow: .venv-dataflow/installed ## Make the jobs that Dataflow would get, and send nothing
	.venv-dataflow/bin/python -m pytest tests/dataflow

lint: setup ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup ## Check types
	$(BIN)/mypy

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Time the job beside FAISS, oneDAL and scikit-learn
	$(BIN)/python -m benchmarks

regression: setup ## Check that nothing has become slower beside what else the machine does
	$(BIN)/python -m benchmarks regression

wheel: setup ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

clean: ## Bring the clusters down and remove everything that git ignores
	-@for name in flink spark prism; do \
		if [ -x $(BIN)/python ]; then $(BIN)/python -m cluster $$name-down; fi; \
	done
	rm -rf .cluster .venv .venv-dataflow build dist out *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
