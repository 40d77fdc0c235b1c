# One command each; `make help` lists them. Everything lands in this checkout or in the user's cache directory.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements.txt
STAMP := $(VENV)/.installed-from
CACHE := $(or $(FRAUD_DETECTION_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fraud-detection)
PROSE := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs conventions model_store serving infra components console stacks scripts toolchain sandbox examples benchmarks

# A value is data. Make would expand $ in what its command line gives, each time that a recipe starts.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(eval override export $(name) := $$(value $(name)))))

.DEFAULT_GOAL := help
.PHONY: help setup engine up down test test-kinds test-long faults-table models-table test-rollouts test-docs test-scanners test-sandbox test-cluster test-workflows prove-aws sandbox-stacks sandbox-mistakes test-endpoint preview release deploy traffic image sbom test-docker soak test-service test-console snapshots providers control-plane resume rollback drift ci-rehearsal sandbox sandbox-down lint prose format types imports fuzz fuzz-smoke fuzz-corpus schema reference requirements clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Of other targets standard output is the result alone: what they prepare is told on standard error.
TOLD := $(if $(filter setup providers,$(MAKECMDGOALS)),,>&2)

setup: $(STAMP)  ## environment and engine only
	@$(BIN)/python -m toolchain $(TOLD)

$(STAMP): $(REQUIREMENTS) pyproject.toml
	@{ test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV); } >&2
	@$(BIN)/python -m toolchain.environment $(REQUIREMENTS) >&2
	@touch $(STAMP)

# Empty where the variable of this name holds an environment that is not on this machine; the value itself is not expanded.
on_this_machine = $(if $(strip $(value $(1))),$(filter dev development,$(value $(1))),development)

up: setup  ## everything: environment, engine, example model, registry, stack dev, endpoint; ENVIRONMENT=staging: in real pods
	@$(if $(call on_this_machine,ENVIRONMENT),:,$(MAKE) --no-print-directory control-plane)
	@$(if $(call on_this_machine,ENVIRONMENT),$(BIN)/python scripts/deploy_model.py up development,$(BIN)/python -m sandbox up "$$ENVIRONMENT")

down: setup  ## stop the endpoint, destroy the stack dev, keep the registry
	@$(BIN)/python scripts/deploy_model.py down development

# The engine and its providers live for seconds: they collect their garbage less often, and start a third cheaper.
test test-rollouts test-docs test-scanners test-sandbox test-cluster test-workflows ci-rehearsal: export GOGC ?= 400

test: setup lint  ## lint, types, import rules, unit and engine tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/guide tests/rendered tests/engine

test-kinds: setup  ## every kind of model, served over HTTP and compared with its own answers; few rows each
	@$(BIN)/python -m pytest -n 2 --durations=8 tests/kinds

test-long: control-plane  ## workflows by act; kinds with many rows; every mechanism at every door; faults under load; long lives of registries
	@$(MAKE) --no-print-directory test-workflows
	@KINDS_LONG=1 $(BIN)/python -m pytest -n 2 --timeout 1200 --durations=8 tests/kinds
	@DOORS=all $(BIN)/python -m pytest -n 2 --durations=8 tests/unit/model_store/serialization/test_doors.py
	@SUMS_ROUNDS=5 SUMS_EACH=200 $(BIN)/python -m pytest --timeout 1200 tests/unit/serving/http/test_sums.py
	@$(BIN)/python -m pytest -rP --timeout 600 tests/faults
	@STATEFUL_EXAMPLES=$${STATEFUL_EXAMPLES:-60} STATEFUL_STEPS=40 $(BIN)/python -m pytest -rP tests/unit/model_store/stateful

faults-table: setup  ## rewrite the table of docs/serving.md: the endpoint under faults and a thousand requests a second, a minute each
	@$(BIN)/python -m tests.faults.table

models-table: setup  ## rewrite docs/models.md: how each kind of model is served
	@$(BIN)/python -m tests.kinds.table

test-rollouts: setup  ## canary, blue-green and shadow rollouts on this machine, under load
	@$(BIN)/python -m pytest -n 2 --dist loadfile --durations=8 tests/rollouts

test-docs: setup  ## every command of the documents
	@$(BIN)/python -m pytest tests/documents

test-scanners: setup  ## checkov and kube-score on what the stacks render; actionlint, zizmor and gitlab-ci-local on the pipelines
	@$(BIN)/python -m pytest tests/scanners

test-endpoint: setup  ## ask an endpoint: ENDPOINT_URL, MODEL_ID, API_KEY_FILE
	@$(BIN)/python -m pytest tests/integration

# What an environment needs beside the engine: nothing on this machine, the providers in a cloud.
needed = $(if $(filter dev development,$(value $(1))),setup,providers)
# The shell reads a value from its own environment, as one word, and never as a command.
preview:  ## what STACK would change, as Markdown, also in .run/preview-$(STACK).md; fails when it is refused
	@$(MAKE) --no-print-directory $(call needed,STACK) >&2
	@$(BIN)/python scripts/preview_stack.py "$$STACK" $${MODEL_ID:+--model "$$MODEL_ID"} $${CONFIG_FILE:+--config-file "$$CONFIG_FILE"}

drift:  ## whether what runs in ENVIRONMENT is what was deployed; fails when it is not
	@$(MAKE) --no-print-directory $(call needed,ENVIRONMENT) >&2
	@$(BIN)/python scripts/preview_stack.py "$$ENVIRONMENT" --drift

release: setup  ## register the release described in RELEASE/release.yaml, signed with SIGNING_KEY where it is set; prints JSON with its model_id
	@if [ -n "$$RELEASE" ]; then \
	  $(BIN)/python scripts/release_model.py register "$$RELEASE" $${SIGNING_KEY:+--sign-key "$$SIGNING_KEY"} \
	    $${REASON:+--reason "$$REASON"} --json; \
	else \
	  $(BIN)/python scripts/manage_models.py register "$$MODEL_FILE" "$$MODEL_NAME" "$$MODEL_TYPE" \
	    $${SIGNING_KEY:+--sign-key "$$SIGNING_KEY"} --description "$$DESCRIPTION" $${METRICS:+--metrics "$$METRICS"} --json; \
	fi

validate: setup  ## measure MODEL_ID on the holdout of RELEASE/release.yaml; its report is the evidence of the status validated
	@$(BIN)/python scripts/release_model.py validate "$$RELEASE" "$$MODEL_ID" $${REASON:+--reason "$$REASON"} --json

deploy:  ## MODEL_ID to ENVIRONMENT; waits until it is healthy; returns to the version before when it fails
	@$(MAKE) --no-print-directory $(call needed,ENVIRONMENT) >&2
	@$(BIN)/python scripts/deploy_model.py deploy "$$MODEL_ID" "$$ENVIRONMENT" $${REASON:+--reason "$$REASON"}

traffic:  ## send ENVIRONMENT transactions made from its model's contract: RATE a second (20), FOR so long (5m)
	@$(MAKE) --no-print-directory $(call needed,ENVIRONMENT) >&2
	@$(BIN)/python scripts/deploy_model.py traffic "$$ENVIRONMENT" --rate "$${RATE:-20}" --for "$${FOR:-5m}"

resume:  ## go on with the rollout in ENVIRONMENT that another job began
	@$(MAKE) --no-print-directory $(call needed,ENVIRONMENT) >&2
	@$(BIN)/python scripts/deploy_model.py resume "$$ENVIRONMENT"

rollback:  ## ENVIRONMENT back to the version before, or TO a version, or to the one AT a time; REASON says why
	@$(MAKE) --no-print-directory $(call needed,ENVIRONMENT) >&2
	@$(BIN)/python scripts/deploy_model.py rollback "$$ENVIRONMENT" $${TO:+--to "$$TO"} $${AT:+--at "$$AT"} --reason "$$REASON"

snapshots: setup  ## rewrite tests/snapshots/ after an intended change
	@$(BIN)/python -m tests.rendered.snapshots

test-sandbox: control-plane  ## staging and production on a cloud of this machine's own
	@$(MAKE) --no-print-directory -j 2 --output-sync=target sandbox-stacks sandbox-mistakes

test-workflows: control-plane  ## every workflow by act, GitLab's jobs by gitlab-ci-local, in fresh clones with the rights of their roles; two regions
	@$(BIN)/python -m pytest --durations=6 tests/workflows

test-cluster: control-plane  ## staging in real pods, under load through the gateway; one line where this machine cannot
	@$(BIN)/python -m pytest -s -rs --timeout 3000 --durations=12 tests/cluster

sandbox-stacks:
	@$(BIN)/python -m pytest --durations=12 --ignore tests/sandbox/test_wrong_input.py tests/sandbox

sandbox-mistakes:  # they need no stack: beside the other tests, on a sandbox of their own
	@$(BIN)/python -m pytest tests/sandbox/test_wrong_input.py

providers: setup  ## the AWS and Kubernetes providers
	@$(BIN)/python -m toolchain --with providers $(TOLD)

control-plane: setup  # the providers too, and the sandbox's control plane
	@$(BIN)/python -m toolchain --with control-plane --with providers >&2

ci-rehearsal: control-plane  ## a release's way by two clones: preview, release, canary, kill, promote, rollback, loss and restore, drift
	@$(BIN)/python -m tests.workflows.rehearsal

sandbox: control-plane  ## start a cloud on this machine; prints what points pulumi at it; NODES=real: pods that run
	@$(BIN)/python -m sandbox start --nodes "$${NODES:-simulated}"

prove-aws: setup  ## on an AWS account of your own: policies and roles of the registry; tells the cost and asks first
	@$(BIN)/python scripts/prove_aws.py

sandbox-down: setup  ## stop it and remove its files
	@$(BIN)/python -m sandbox stop

lint: setup  ## formatting, lint, types, import rules and dead code
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@MYPY_CACHE_DIR="$(CACHE)/mypy" $(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(MAKE) --no-print-directory prose

prose: setup  ## plain words in documents, docstrings, comments and messages
	@$(BIN)/python -m toolchain.vale --output=line $(PROSE)

format: setup  ## fix the formatting
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

image:  ## the service's image; where its base cannot be pulled, BASE_IMAGE names another slim image with Python 3.11 and pip
	@docker build --quiet $${BASE_IMAGE:+--build-arg "BASE_IMAGE=$$BASE_IMAGE"} $$BUILD_OPTIONS --tag "$${IMAGE:-fraud-detection:latest}" .

sbom: setup  ## the packages of the image as CycloneDX: build/sbom.json
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements --output-reproducible --of JSON -o build/sbom.json serving/requirements.txt

test-docker: setup  ## build the image; docker run, compose and platform docker under load; one line where Docker cannot run
	@$(BIN)/python -m pytest -n 2 --dist loadfile -rP --timeout 900 --durations=6 tests/docker

soak: setup  ## an hour at half the top rate with reloads, revocations, restarts and faults: no request fails, memory stays level
	@SOAK_SECONDS=$${SOAK_SECONDS:-3600} SOAK_RATE=$${SOAK_RATE:-half} $(BIN)/python -m pytest -s --timeout 7200 tests/soak

test-service: setup  ## the status page in Chromium, where there is one; half a minute of load with restarts, reloads and faults
	@$(BIN)/python -m pytest -rs tests/browser
	@SOAK_SECONDS=30 $(BIN)/python -m pytest -s tests/soak

test-console: setup  ## the console in Chromium on a real stack, where there is one: every page and action, a canary watched to its end
	@$(BIN)/python -m pytest -rP --timeout 900 --durations=6 tests/console

FUZZ_SECONDS ?= 600
FUZZ_TARGETS := $(notdir $(wildcard tests/fuzz/corpus/*))

fuzz: setup  ## feed mutated bytes to every reader of outside data, FUZZ_SECONDS (600) each; keeps new inputs in .run/fuzz/
	@$(BIN)/python -m tests.fuzz.fuzz_artifact -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p .run/fuzz/$$target; echo "fuzz: $$target, $(FUZZ_SECONDS) s"; \
	  $(BIN)/python -m tests.fuzz.doors $$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	    .run/fuzz/$$target tests/fuzz/corpus/$$target || exit 1; \
	done

fuzz-smoke: setup  ## the same for a minute in all
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$$((60 / ($(words $(FUZZ_TARGETS)) + 1)))

fuzz-corpus: setup  ## merge the inputs of `make fuzz` that reach new code into tests/fuzz/corpus/
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p .run/fuzz/$$target; \
	  $(BIN)/python -m tests.fuzz.doors $$target -merge=1 tests/fuzz/corpus/$$target .run/fuzz/$$target || exit 1; \
	done

reference: setup  ## write the pages of docs/reference/ that come from the code
	@$(BIN)/python -m scripts.reference_pages
	@$(BIN)/python scripts/write_reference.py

schema: setup  ## rewrite config/deployment.schema.json
	@$(BIN)/python -m infra.schema

requirements: setup  ## pin the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile --quiet --all-extras --universal --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --upgrade -o $(REQUIREMENTS) pyproject.toml
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 -c $(REQUIREMENTS) -o serving/requirements.txt serving/requirements.in

clean:  ## remove the environment and the caches of the tools; keys, state, registry and models stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
