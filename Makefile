# Every target works on a fresh checkout: the first one run makes .venv (scripts/setup).
.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint protos demo-artifact bench bench-peers
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with everything installed (the other targets do it too)
	@scripts/setup

demo: setup ## Logs in, fused predictions out, under load; KEEP=1 leaves the server running
	playfuse demo $(if $(KEEP),--keep)

test: setup ## Run all tests; COVERAGE=1 also measures branch coverage and fails below 90 %, as CI does
	@scripts/prometheus-tools || [ -z "$$CI" ]
	@[ -z "$$CI" ] || scripts/chromium
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadgroup --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=term)

fuzz: setup ## 100,000 inputs into every decoder, in hours; INPUTS=10000 for fewer
	FUZZ_INPUTS=$(or $(INPUTS),100000) OMP_NUM_THREADS=1 pytest -n 2 --timeout=0 tests/property/test_codec.py tests/property/test_decoders.py

lint: setup ## Style, types and import contracts
	ruff check .
	ruff format --check .
	mypy
	lint-imports

protos: setup ## Generate inference/pb anew from protos/
	scripts/protos

demo-artifact: setup ## Fuse anew what `playfuse serve --demo` serves (inference/demo)
	python -m fusion.demo_artifact

bench: setup ## Measure everything the README quotes, then write it into README.md and docs/
	python -m benchmarks.telemetry
	python -m benchmarks.fusion
	python -m benchmarks.baselines
	python -m benchmarks.methods
	python -m benchmarks.search
	python -m benchmarks.serving
	python -m benchmarks.swaps
	python -m benchmarks.connections
	python -m benchmarks.soak
	python -m benchmarks.render

bench-peers: setup ## Measure the users' job beside other servers; fetches 2 GB of them first
	python -m benchmarks.peers
	python -m benchmarks.render
