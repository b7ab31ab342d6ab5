# Needs Python 3.11+ and the package registries; sets up everything else in .venv.
PYTHON ?= python3
UV := .venv/bin/uv
RUN := .venv/bin/

.DEFAULT_GOAL := help

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(UV):
	$(PYTHON) -m venv .venv
	$(RUN)python -m pip install --quiet --disable-pip-version-check uv

# One stamp for the whole environment: the demo's parts are what the tests run against.
.venv/.synced: $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet --extra apprise --extra demo --extra fast --extra pictures --extra postgres --extra s3 --extra signatures --extra traces --inexact
	touch $@

setup: .venv/.synced  ## Create .venv with everything the other commands need.

demo: setup  ## The whole loop on this machine: serve, poison, detect, alert, roll back.
	$(RUN)tocsin demo $(ARGS)

test: setup  ## Quick tests: no Java, no network beyond loopback.
	$(RUN)pytest -n auto -m "not slow and not kafka and not chaos" $(ARGS)

test-slow: setup  ## The slower suites: real Apache Kafka, real MLflow, the demo itself.
	$(RUN)pytest -n 2 --dist loadfile -m "(slow or kafka) and not chaos" $(ARGS)

dashboards: setup  ## Write grafana/dashboards/ from the Python beside it.
	$(RUN)python -m grafana

test-chaos: setup  ## Kills, broken brokers, networks, disks and databases, stale replicas; TOCSIN_KILLS=50 for more.
	$(RUN)pytest -m chaos $(ARGS)

bench: setup  ## How soon, how often wrong, how fast, beside peers; ARGS=--quick or --full. Minutes.
	$(RUN)python -m tests.bench.detection $(ARGS)
	$(RUN)python -m tests.bench.run_length $(ARGS)
	$(RUN)python -m tests.bench.outliers $(ARGS)
	$(RUN)python -m tests.bench.pipeline $(ARGS)
	$(RUN)python -m tests.bench.stages
	$(RUN)python -m tests.bench.latency $(ARGS)

fuzz: setup  ## Feed strange bytes to decoder, configuration, baseline, webhook or token; ARGS="record -max_total_time=600".
	$(UV) sync --locked --quiet --inexact --group fuzz
	$(RUN)python -m tests.fuzz $(ARGS)

lint: setup  ## Style, types, import layers.
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports

audit: setup  ## What Tocsin is made of (dist/tocsin.cdx.json), and whether anything in it is known to be flawed.
	mkdir -p dist
	$(UV) export --frozen --quiet --format cyclonedx1.5 --preview-features sbom-export --all-extras --no-dev --output-file dist/tocsin.cdx.json
	$(RUN)python .ci/audit.py $(ARGS)

check: lint test test-slow test-chaos  ## Everything CI runs.

chart: setup  ## Make the generated parts of the Helm chart anew, after a change of the configuration or the values.
	$(RUN)python helm/generate.py

clean:  ## Remove what the other commands made.
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

.PHONY: help setup demo test test-slow dashboards chart bench fuzz lint audit check clean
