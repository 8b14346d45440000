.DEFAULT_GOAL := help
# The first that is supported and can make an environment.
PYTHONS := python3.13 python3.12 python3.11 python3
USABLE := import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 14)
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done)
LACKING := make setup needs Python 3.11, 3.12 or 3.13 with its venv module: install one, or uv
MAKE_ENVIRONMENT = if $(or $(PYTHON),false) -c '$(USABLE)' 2>/dev/null; then $(PYTHON) -m venv $(@D); \
	elif command -v uv >/dev/null; then uv venv --quiet --seed --python 3.13 $(@D); \
	else echo '$(LACKING)' >&2; exit 1; fi
BIN := .venv/bin
export OPENBLAS_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0

.PHONY: help setup constraints run seed test lint type format bench regression wheel clean
.PHONY: flink-up flink-down spark-up spark-down prism s3-up s3-down gs-up gs-down
.PHONY: test-airflow test-clusters test-crashes test-dataflow test-processes test-stores

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## Install everything into .venv

.venv/installed: EXTRAS := dev
# Of its own: Beam starts slower where Google's libraries are.
.venv-dataflow/installed: EXTRAS := test,dataflow
.venv/installed .venv-dataflow/installed: setup.py constraints.txt
	@$(MAKE_ENVIRONMENT)
	$(@D)/bin/python -m pip install --quiet --upgrade pip --constraint constraints.txt setuptools wheel
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

# Of its own: Airflow asks for other versions of what Beam and TensorFlow need.
.venv-airflow/installed: tests/airflow/constraints.txt
	@$(MAKE_ENVIRONMENT)
	$(@D)/bin/python -m pip install --quiet --upgrade pip --constraint $<
	$(@D)/bin/python -m pip install --quiet --constraint $< apache-airflow apache-airflow-providers-standard
	@touch $@

constraints: ## Resolve all dependencies anew and pin them in constraints.txt
	python3.11 .ci/dependencies renew

run: setup ## Cluster the colours of a photograph, and draw it before and after
	$(BIN)/python -m examples.palette

seed: setup ## The run that the project began from, beside its printed table
	$(BIN)/python -m examples.seed

test: setup ## Run all tests but those of the targets test-*
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

s3-up: setup ## Start SeaweedFS, a store of objects, on this machine
	$(BIN)/python -m cluster s3-up

s3-down: setup ## End it and delete what it holds
	$(BIN)/python -m cluster s3-down

gs-up: setup ## Build and start fake-gcs-server, a store like Google's, on this machine
	$(BIN)/python -m cluster gs-up

gs-down: setup ## End it and delete what it holds
	$(BIN)/python -m cluster gs-down

test-processes: setup ## Run the job in processes that stop, end or lose a channel
	$(BIN)/python -m pytest tests/processes --numprocesses auto --maxprocesses 4 --dist loadscope

test-clusters: setup ## Run the job on Flink, Spark and Prism, faults included
	$(BIN)/python -m pytest tests/clusters

test-crashes: setup ## Kill the job, damage its input and run it hundreds of times
	$(BIN)/python -m pytest tests/crashes --numprocesses auto --maxprocesses 2 --dist worksteal

test-stores: setup ## Run the job on stores of objects
	$(BIN)/python -m pytest tests/object_stores

test-dataflow: .venv-dataflow/installed ## Make the jobs that Dataflow would get, and send nothing
	.venv-dataflow/bin/python -m pytest tests/dataflow

test-airflow: setup .venv-airflow/installed ## Run the night's DAG by a real Airflow
	$(BIN)/python -m pytest tests/airflow

lint: setup ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup ## Check types
	$(BIN)/mypy

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Time the job beside FAISS, oneDAL and scikit-learn
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

regression: setup ## Check that nothing has become slower beside what else the machine does
	$(BIN)/python -m benchmarks regression

wheel: setup ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

clean: ## Bring the clusters down and remove everything that git ignores
	-@for name in flink spark prism s3 gs; do \
		if [ -x $(BIN)/python ]; then $(BIN)/python -m cluster $$name-down; fi; \
	done
	rm -rf .cluster .venv .venv-dataflow .venv-airflow build dist out *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
