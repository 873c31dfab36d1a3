.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help demo up test unit test-long check drill bench manifests e2e-kube e2e-kind format clean

help: ## list these targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(BIN)/slipway: pyproject.toml constraints.txt
	python3 -m venv .venv && $(BIN)/pip install -q -U pip && $(BIN)/pip install -c constraints.txt -e '.[dev]' && touch $@

demo: $(BIN)/slipway ## train, sweep, promote and serve on this machine, then take everything down (KEEP=1 leaves it up)
	$(BIN)/python -m jobs.examples.demo $(if $(KEEP),--keep)

up: $(BIN)/slipway ## start the platform on this machine, until Ctrl-C
	$(BIN)/slipway up

test: unit ## all tests: unit and API first (a minute), then Kubernetes' stand-in and the real-Ray suite (minutes)
	$(BIN)/pytest -m "not ray" tests/kube && $(BIN)/pytest -m "ray and not long"

unit: $(BIN)/slipway ## unit, service, API and contract tests only
	$(BIN)/pytest -n logical -m "not ray and not long" --ignore tests/kube

test-long: $(BIN)/slipway ## the tests that kill and resize again and again, and admission over 100,000 events (half an hour)
	$(BIN)/pytest -m long

check: $(BIN)/slipway ## ruff, mypy strict, import-linter, docstrings, Kubernetes manifests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
	$(BIN)/pytest -q tests/kube/manifests

drill: $(BIN)/slipway ## kill the real processes, and show what it costs (about two hours; WHAT="reclaims kills" COUNT=4 for less)
	$(BIN)/python -m tests.drills $(WHAT) $(if $(COUNT),--count $(COUNT))

bench: $(BIN)/slipway ## measure beside the peers, into build/benchmarks.json (WHAT="ddp" for one part)
	$(BIN)/python -m tests.benchmarks $(WHAT)

manifests: $(BIN)/slipway ## render what under k8s/ depends on the catalog
	$(BIN)/python -m platform_app.manifests

e2e-kube: $(BIN)/slipway ## Kubernetes without Docker: from zero GPU workers through a reclaim and a quota, and back (under 5 minutes)
	$(BIN)/python -m tests.kube.e2e

e2e-kind: $(BIN)/slipway ## the same on a kind cluster with the real operator (tests/kube/e2e/kind.yaml says how to make it)
	$(BIN)/python -m tests.kube.e2e --kind

format: $(BIN)/slipway ## mend what ruff can mend
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## remove the virtual environment and caches (stops a running platform first)
	-$(BIN)/slipway down
	rm -rf .venv .slipway build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
