# All there is to do here, by name: `make help`. The set-up that a goal needs is done on the way (scripts/setup.sh).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

TARGET := $(or $(CARGO_TARGET_DIR),target)
# What npm itself writes last: it stands for the page's installed dependencies.
PAGE := dashboard/web/node_modules/.package-lock.json
STEP := scripts/step.sh

# make demo
FOR ?=
LIVE ?=
RATE ?=
SEED ?=
DATA_DIR ?=
DEMO_ARGS := $(if $(FOR),--for $(FOR)) $(if $(filter-out 0 no false,$(LIVE)),--live) $(if $(RATE),--rate $(RATE)) \
	$(if $(SEED),--seed $(SEED)) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

# make bench: PROFILE=dev measures what the demo and the tests run, without another long build.
PROFILE ?= release
TICKS ?=

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done
	@echo
	@echo '  make demo takes FOR=60s (end after so long and audit), LIVE=1 (the real exchanges), RATE=1000 (simulated'
	@echo '  trades a second), SEED=7, DATA_DIR=folder (keep the data). CARGO_TARGET_DIR is respected everywhere.'

.PHONY: setup
setup: ## Install what is missing on this machine for demo and test (Debian, Ubuntu; elsewhere say what)
	@scripts/setup.sh all

.PHONY: setup-demo
setup-demo:
	@scripts/setup.sh demo

# The dashboard embeds the page, so cargo needs it whatever is built.
$(PAGE): dashboard/web/package.json dashboard/web/package-lock.json
	@echo "installing the page's dependencies with npm"
	@npm ci --prefix dashboard/web --no-audit --no-fund
	@touch $@

.PHONY: build
build: setup-demo $(PAGE) ## Build every program
	@cargo build --workspace --bins --locked

.PHONY: demo
demo: build ## Run everything on this machine, with a live page; Ctrl-C stops all of it
	@exec $(TARGET)/debug/stack demo $(DEMO_ARGS)

.PHONY: lint
lint: setup $(PAGE) ## Formatting, clippy and rustdoc without warnings, licences, the page's types
	@$(STEP) formatting cargo fmt --all --check
	@$(STEP) clippy cargo clippy --workspace --all-targets --locked -- -D warnings
	@RUSTDOCFLAGS='-D warnings' $(STEP) rustdoc cargo doc --workspace --no-deps --locked
	@$(STEP) licences scripts/licences.sh
	@$(STEP) 'page types' npm run --silent --prefix dashboard/web check

.PHONY: test
test: lint ## All checks and tests: lint, unit, integration, end-to-end, browser, deployment files
	@$(STEP) build cargo build --workspace --all-targets --locked
	@$(STEP) 'page tests' npm test --silent --prefix dashboard/web
	@$(STEP) 'deployment files' tests/deploy/run.sh
	@$(STEP) 'metrics, alert rules, dashboards' tests/observability/run.sh
	@$(STEP) 'configuration page' scripts/configuration.py --check
	@$(STEP) tests cargo test --workspace --locked
	@$(STEP) end-to-end tests/end_to_end/run.sh
	@$(STEP) 'live data, by an outside client' tests/websocket/run.sh
	@$(STEP) "the dashboard's API" tests/api/run.sh
	@$(STEP) 'users, certificates and rights' tests/security/run.sh
	@$(STEP) 'the page in a browser' tests/page/run.sh
	@$(STEP) 'chain storm, a minute of it' tests/storm/run.sh
	@$(STEP) 'silver and gold in three engines' tests/refiner/run.sh

.PHONY: observability-test
observability-test: ## The alert rules' unit tests by Prometheus's own promtool, which Go builds once
	@$(STEP) 'alert rules' tests/observability/promtool.sh

.PHONY: alerts-trial
alerts-trial: build ## Each alert rule by its fault: the whole stack, a real Prometheus; some 12 minutes
	@$(STEP) 'alert rules, each by its fault' tests/observability/trial/run.sh

.PHONY: storm
storm: build ## The chain storm, whole: 5 million records, 300 kills, 50 stops, a store that fails; some 25 minutes
	@RECORDS=5000000 SECONDS=1200 KILLS=300 STOPS=50 $(STEP) 'chain storm' tests/storm/run.sh -s

.PHONY: verify
verify: test ## make test, then the fault and load tests whole (they run short in make test)
	@TICKSTREAM_HISTORIES=100000 $(STEP) 'the chain, 100,000 histories' cargo test --workspace --lib --locked chain::model -- --nocapture
	@TICKSTREAM_KILLS=20 $(STEP) 'the lake, 20 kills' cargo test --workspace --test it --locked faults::killed_again -- --nocapture
	@TICKSTREAM_KILLS=20 $(STEP) 'shared sources, 20 kills' cargo test --workspace --test it --locked sharing::a_killed -- --nocapture
	@TICKSTREAM_BURST=1000000 $(STEP) 'a million frames at once' cargo test --workspace --test it --locked faults::burst -- --nocapture
	@TICKSTREAM_FUZZ_SECONDS=600 $(STEP) 'each parser, 10 minutes of what no source sends' cargo test --workspace --test it --locked fuzz:: -- --nocapture
	@TICKSTREAM_DB_KILLS=300 $(STEP) 'one and two writers to Postgres, 300 kills each' cargo test --workspace --test it --locked kills:: -- --nocapture
	@TICKSTREAM_POISON=1000000 $(STEP) 'a million records, 3 % poison' cargo test --workspace --test it --locked poison:: -- --nocapture
	@TICKSTREAM_REPLAY_KILLS=200 $(STEP) 'a generation promoted and rolled back, 200 kills' cargo test --workspace --test it --locked replay_kills:: -- --nocapture
	@TICKSTREAM_AUDITS=1000 $(STEP) 'a thousand audits of what is right' cargo test --workspace --test it --locked audit_faults:: -- --nocapture
	@KILLS=20 $(STEP) 'each consumer, 20 kills' tests/end_to_end/run.sh -k kills -s

.PHONY: bench
bench: setup-demo $(PAGE) ## Measure over a million ticks: what this machine can do, and what the services do with it
	@cargo build --profile $(PROFILE) --bins --locked -p bench -p producer -p consumer-lake -p consumer-db -p dashboard -p tickstream
	@exec $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bench $(if $(TICKS),--ticks $(TICKS))

.PHONY: bench-dashboard
bench-dashboard: setup-demo $(PAGE) ## The dashboard under up to 10,000 clients beside a bare WebSocket server, its start over a day, its answers
	@cargo build --profile $(PROFILE) --bins --locked -p bench -p dashboard -p tickstream
	@exec $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bench --dashboard

.PHONY: bench-page
bench-page: build ## What the page costs a browser: script time a frame, long tasks, load time; 50 series at 20 updates a second
	@tests/page/run.sh --measure -s

.PHONY: bench-incremental
bench-incremental: setup-demo $(PAGE) ## What the refiner takes for one new day in a lake of 1, 10, 30 and 100 days
	@cargo build --profile $(PROFILE) --bins --locked -p bench -p consumer-lake -p refiner -p tickstream
	@exec $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bench --incremental

.PHONY: bench-refiner
bench-refiner: setup-demo $(PAGE) ## Silver and gold of ten million ticks (TICKS=), beside DuckDB with the same SQL
	@cargo build --profile $(PROFILE) --bins --locked -p refiner -p stack
	@tests/python.sh refiner --collect-only -q >/dev/null
	@PYTHONDONTWRITEBYTECODE=1 $(TARGET)/venv-refiner/bin/python bench/refiner/measure.py $(if $(TICKS),--ticks $(TICKS)) \
		--binaries $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.PHONY: bench-audit
bench-audit: setup-demo $(PAGE) ## The audit of ten million ticks (TICKS=) in topic, lake, Postgres, silver and gold, and that of a minute
	@cargo build --profile $(PROFILE) --bins --locked -p bench -p consumer-lake -p consumer-db -p refiner -p tickstream
	@exec $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bench --audit --ticks $(or $(TICKS),10000000)

.PHONY: bench-replay
bench-replay: setup-demo $(PAGE) ## A replay of a million ticks (TICKS=) into a new generation, beside the live services
	@cargo build --profile $(PROFILE) --bins --locked -p bench -p consumer-lake -p consumer-db -p refiner -p tickstream
	@exec $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bench --replay $(if $(TICKS),--ticks $(TICKS))

.PHONY: bench-all
bench-all: bench bench-dashboard bench-page bench-refiner bench-incremental bench-audit bench-replay ## All of them, one after the other: some 25 minutes

.PHONY: images
images: ## Build every image; with LOAD_IMAGE='kind load docker-image' (or 'minikube image load', …) load them into a cluster
	@$(STEP) images scripts/images.sh build
	@[ -z "$${LOAD_IMAGE:-}" ] || $(STEP) 'loading images' scripts/images.sh load

.PHONY: k8s-test
k8s-test: $(if $(filter docker,$(IMAGES)),,build) ## The local overlay in the cluster of KUBECONFIG: up, broken in many ways, audited (tests/k8s/run.sh has the settings)
	@tests/k8s/run.sh

.PHONY: clean
clean: ## Remove what was built and what the demo wrote; the caches of cargo, Maven and Kafka's jars stay
	@cargo clean
	@rm -rf .demo dashboard/web/node_modules
