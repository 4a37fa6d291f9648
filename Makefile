# MSGXC: every task in one place. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
PACKAGES := domain commands projections processes gateways api cli infra
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --quiet

.PHONY: help setup run test test-all lint types contracts schema format clean \
  bench-publish bench-sockets bench-fanout bench-push bench-registrations bench-http-lane bench-tokens bench-device-events \
  bench-resolution bench-shops bench-log bench-read-store bench-rebuild bench-statistics bench-memory

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv as uv.lock says (the other targets do it too)
	@tools/setup.sh

run: setup ## Serve everything on http://127.0.0.1:8000; Ctrl-C stops all of it
	@exec $(BIN)/msgxc serve

test: lint types contracts ## Lint, types, import contracts and the core tests
	@tools/programs.sh chromium
	@$(PYTEST)

test-all: lint types contracts ## The same, and the long tests
	@tools/programs.sh chromium nginx rabbitmq-server
	@$(PYTEST) -m "long or not long"

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: setup ## mypy --strict
	@$(BIN)/mypy

contracts: setup ## Which package may import which, and which libraries are declared
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter >.cache/contracts.txt || { cat .cache/contracts.txt; exit 1; }
	@$(BIN)/deptry . 2>.cache/deptry.txt || { cat .cache/deptry.txt; exit 1; }

schema: setup ## Write schema/ anew from the code (a test checks it)
	@$(BIN)/msgxc schema apply

format: setup ## Put the code into ruff's format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench-publish: setup ## Publishes accepted per second, beside a bare route (docs/figures.md)
	@$(BIN)/python bench/publish.py

bench-sockets: setup ## From a publish to a thousand sockets, beside a naive server
	@$(BIN)/python bench/sockets.py

bench-fanout: setup ## One publish to 20,000 iPhones and 20,000 Android phones, at a light stand-in
	@$(BIN)/python bench/fanout.py

bench-push: setup ## APNs and FCM gateways alone, beside aioapns
	@$(BIN)/python bench/push_transport.py

bench-registrations: setup ## Devices registered per second, beside a bare route
	@$(BIN)/python bench/registrations.py

bench-http-lane: setup ## What a request costs before any command runs, beside a bare route
	@$(BIN)/python bench/http_lane.py

bench-tokens: setup ## Processor time to sign and to read devices' tokens, beside PyJWT
	@$(BIN)/python bench/tokens.py

bench-device-events: setup ## Device events taken per second, beside a bare route
	@$(BIN)/python bench/device_events.py

bench-resolution: setup ## From setting a contact to its number, beside two bare publishes
	@$(BIN)/python bench/resolution.py

bench-shops: setup ## Shop updates per second, and from the till to 500 pages
	@$(BIN)/python bench/shops.py

bench-log: setup ## Appends, reads and shared work on the log, beside nats-py
	@$(BIN)/python bench/log.py

bench-read-store: setup ## Rows put and read per second, beside the bare driver
	@$(BIN)/python bench/read_store.py

bench-rebuild: setup ## Events per second of a rebuild, beside a bare consumer
	@$(BIN)/python bench/rebuild.py

bench-statistics: setup ## Time to read the statistics of a message to a million
	@$(BIN)/python -m bench.message_statistics

bench-memory: setup ## Memory of an idle exchange
	@$(BIN)/python bench/memory.py

clean: ## Remove .venv and caches; .msgxc (the data) stays
	rm -rf .venv .uv .cache .pytest_cache .ruff_cache .hypothesis
