# The one front door. `make demo` and `make test` work on a fresh checkout; everything else is a part of them.
# Each target can be run twice.

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help

export COFFERDAM_STATE ?= /var/tmp/cofferdam
export GOTOOLCHAIN := local
export GOFLAGS := -buildvcs=false

CLUSTER := target/cluster
RELEASE_TARGET := x86_64-unknown-linux-gnu
# The programs with the list of their crates inside (deploy/auditable.py).
AUDITABLE := target/auditable
HELM := target/bin/helm

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 24

.PHONY: packages
packages: ## Install the Debian packages that the rest needs
	@tests/packages.sh

$(CLUSTER): packages $(shell find tests/cluster -name '*.go' -o -name go.mod -o -name go.sum 2>/dev/null)
	@mkdir -p target
	cd tests/cluster && go build -trimpath -o ../../$(CLUSTER) .

# The helm that the embedded cluster has, for targets that need no cluster.
$(HELM): $(wildcard tests/cluster/components/tools/go.*)
	cd tests/cluster/components/tools && go build -trimpath -o $(CURDIR)/$(HELM) helm.sh/helm/v4/cmd/helm

.PHONY: cluster
cluster: $(CLUSTER) ## Start the embedded one-node cluster (first time: builds Kubernetes, about 15 minutes)
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: $(CLUSTER) ## Stop it and leave nothing
	@$(CLUSTER) down

.PHONY: binary
binary: packages ## Build the static release binaries: the roles, and the command
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin cofferdam --bin kubectl-cofferdam --target $(RELEASE_TARGET)
	@for program in cofferdam kubectl-cofferdam; do \
	  deploy/auditable.py $$program target/$(RELEASE_TARGET)/release/$$program $(AUDITABLE)/$$program || exit 1; \
	done

.PHONY: plugin
plugin: binary ## Pack `kubectl cofferdam` for krew (PLUGIN_URI=https://… of the archives' directory: with its manifest; PLUGIN_TARGETS="…": for these too)
	@deploy/plugin.sh target/plugin "$(PLUGIN_URI)" $(RELEASE_TARGET) $(PLUGIN_TARGETS)

.PHONY: image
image: binary ## Build the images `cofferdam` and `cofferdam-runner`, without Docker
	@images/build.sh cofferdam --binary $(AUDITABLE)/cofferdam
	@images/build.sh cofferdam-runner --binary $(AUDITABLE)/cofferdam

.PHONY: install-yaml
install-yaml: $(HELM) ## Render the chart into target/install.yaml, for clusters without Helm (VALUES=file)
	@PATH="$(CURDIR)/$(dir $(HELM)):$$PATH" deploy/install-yaml.sh "$(or $(VALUES),$(error name a file with the values: make install-yaml VALUES=…))" target/install.yaml

.PHONY: release
release: plugin image $(HELM) ## Put everything of a release into target/release-files, with bills of materials and sums
	@rm -rf target/release-files
	@PATH="$(CURDIR)/$(dir $(HELM)):$$PATH" PLUGIN_TARGETS="$(PLUGIN_TARGETS)" deploy/release.sh target/release-files

.PHONY: reproduce
reproduce: binary ## Build the programs again elsewhere, and compare (minutes)
	@deploy/reproduce.sh

.PHONY: crds
crds: ## Generate crds/, the chart's copy of it, the reference in docs/api.md, and docs/presets.md
	cargo run --quiet --locked --bin crdgen -- crds docs/api.md docs/presets.md
	@mkdir -p charts/cofferdam/files/crds && cp crds/*.yaml charts/cofferdam/files/crds/

.PHONY: lint
lint: packages ## Formatting, clippy, cargo deny, go vet
	@tests/lint.sh

.PHONY: unit
unit: packages ## Tests that need no cluster
	@tests/run.sh unit

.PHONY: install
install: cluster image ## Load the images and install the chart into the embedded cluster
	@tests/install.sh

.PHONY: e2e
e2e: install ## End-to-end tests on the embedded cluster
	@tests/run.sh e2e

.PHONY: e2e-origins
e2e-origins: ## Ambiguous requests through the gateway to nginx, Apache, lighttpd, h2o and Go's server (needs root; first time: fetches them)
	@tests/origins.sh

.PHONY: e2e-network-policy
e2e-network-policy: cluster ## Upstream's NetworkPolicy cases against the cluster's enforcer (cached by its hash)
	@tests/cluster/enforcer/conformance.sh

.PHONY: e2e-policy-engines
e2e-policy-engines: packages ## The policies of deploy/ in Gatekeeper's and Kyverno's own engines (first time: builds both)
	@tests/policy-engines/check.sh

.PHONY: e2e-api-servers
e2e-api-servers: $(CLUSTER) ## The chart and its guard on API servers 1.33, 1.34 and 1.35 (no cluster; first time: builds them)
	@tests/api-servers/check.sh $(SERVERS)

.PHONY: bench
bench: bench-policy bench-chain bench-collect bench-runs ## What Cofferdam costs: a decision, and a run (docs/performance.md; wants a quiet machine)

.PHONY: bench-policy
bench-policy: ## What a decision costs, as ratios within one run
	cargo bench --locked --bench policy

.PHONY: bench-chain
bench-chain: ## What it costs to link records into a chain, and to verify one
	cargo bench --locked --bench chain

.PHONY: bench-archive
bench-archive: ## What the archive keeps a second beside its disk, a start with 10,000 runs, memory of 5,000 (BENCH_DIR=directory)
	@BENCH_DIR=$(abspath $(or $(BENCH_DIR),target)) cargo bench --locked --bench archive

.PHONY: soak
soak: ## Kill the archive's process 300 times under load (COFFERDAM_SEED=number repeats a campaign)
	COFFERDAM_ROUNDS=300 cargo test --locked -p cofferdam-archive killed_tests

.PHONY: bench-collect
bench-collect: ## What collecting costs: large trees, many new files (wants 5 GB below TMPDIR)
	cargo bench --locked --bench collect

.PHONY: bench-gateway
bench-gateway: ## What the gateway costs, beside squid and mitmproxy (needs root; first time: fetches both)
	@tests/bench/gateway.sh $(BENCH)

.PHONY: bench-collect-gvisor
bench-collect-gvisor: install ## The same under gVisor, in a pod of the embedded cluster, held to the goals
	@tests/bench/collect-gvisor.sh

.PHONY: bench-runs
bench-runs: install ## What a run costs the control plane, beside bare Jobs in the same sitting (BENCH="loads" for a part)
	@tests/bench/runs.sh $(or $(BENCH),all 20000)

.PHONY: bench-command
bench-command: install ## What `kubectl cofferdam` costs whoever waits for it, held to its goals (wants a quiet machine)
	@PLUGIN=$(CURDIR)/target/$(RELEASE_TARGET)/release/kubectl-cofferdam tests/bench/runs.sh command

.PHONY: e2e-cluster
e2e-cluster: $(CLUSTER) ## The cluster itself: up twice, down, crashes half-way (needs the cluster to be down)
	go test -C tests/cluster -tags cluster -count=1 -v .

.PHONY: demo
demo: install ## From a fresh checkout to a patch, with a report
	@examples/demo/demo.sh

.PHONY: demo-private
demo-private: install ## The same with a private repository and a model that wants a key, neither of which the sandbox holds
	@examples/demo/demo.sh private

.PHONY: agents
agents: install ## Real coding agents mend the demo's bug, inspected, their keys at the gateway (first time: fetches them; AGENTS="codex" for some)
	@tests/agents/run.sh $(AGENTS)

.PHONY: clients
clients: install ## Real clients trust the gateway, and install packages through it (first time: fetches them; wants Go and Maven)
	@tests/clients/run.sh
	@tests/clients/rotation.sh

.PHONY: fuzz
fuzz: ## Fuzz what reads foreign bytes, 60 s each (needs a nightly and a C++ compiler; FUZZ="600 head" for more)
	@fuzz/run.sh $(FUZZ)

.PHONY: test
test: ## Everything that must pass
	@tests/run.sh all
