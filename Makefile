# GNU make 3.81 (macOS) and POSIX sh are enough.
.DEFAULT_GOAL := help
.PHONY: help setup serve test soak agents bench bench-scale bench-setup docs dist lint unasync fmt lock clean

BIN := .venv/bin
ARGS ?=
# More test processes than there are cores, for many tests wait for other programs; four at most. A file's tests stay
# together, for they share what they have started.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PARALLEL ?= -n $(shell echo $$(( $(CORES) < 3 ? $(CORES) + 2 : 4 ))) --dist=loadscope --no-loadscope-reorder
WEIGHTS := weights/pyproject.toml weights/hatch_build.py weights/everytoken_model_smollm2/__init__.py

help: ## what there is (this text)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

setup: .venv/.dev ## a .venv with everytoken in editable form, the weights and the development tools
	@echo "setup: ready"

serve: .venv/.runtime ## everytoken serve, with options in ARGS: make serve ARGS="--port 9000"
	@$(BIN)/everytoken serve $(ARGS)

test: .venv/.dev ## everything that must hold; pytest's options in ARGS
	@sh tools/system.sh chromium redis-server postgresql nginx caddy || echo "test: the tests that need it are skipped"
	@$(MAKE) --no-print-directory -s var/clients/.installed || echo "test: the tests of these two are skipped"
	@$(MAKE) --no-print-directory -s var/frameworks/.installed || echo "test: the tests of these are skipped"
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest $(PARALLEL) $(ARGS)

soak: .venv/.dev ## pull the plug for ten minutes, abuse a gateway for ten, send 1 GiB, cut every wire shape at every byte, and every API on every journal; options of the first two in ARGS: --seconds 60
	@$(BIN)/python tests/plug.py $(ARGS)
	@$(BIN)/python tests/abuse.py $(ARGS)
	@EVERYTOKEN_SOAK=1 $(BIN)/pytest -q tests/security/test_long_response.py
	@EVERYTOKEN_SOAK=1 $(BIN)/pytest -q $(PARALLEL) tests/project/test_content_shapes.py tests/project/test_api_faults.py tests/dialects tests/translation tests/gateway/test_translation.py tests/recovery/test_fields.py tests/conformance tests/client tests/contract/test_journal_deaths.py tests/journal tests/native tests/acceptance tests/gateway/test_meter.py tests/project/test_js.py tests/project/test_wheel.py tests/project/test_examples.py
	@EVERYTOKEN_SOAK=1 $(BIN)/pytest -q tests/project/test_clients_docs.py tests/browser
	@EVERYTOKEN_SOAK=1 $(BIN)/pytest -q tests/upstream/test_embedded.py tests/cli/demo -k "people_try or embedded"

agents: .venv/.dev ## Claude Code and Codex through the gateway, with the provider cut; installs them (660 MB)
	@EVERYTOKEN_AGENTS=1 $(BIN)/pytest -q tests/agents

bench: bench-setup ## measure against nginx and other gateways; writes docs/benchmarks.md
	@$(BIN)/python -m bench $(ARGS)

bench-scale: bench-setup ## measure how costs grow; writes docs/scaling.md; one part of it in ARGS: --only readers
	@$(BIN)/python -m bench.scaling $(ARGS)

bench-setup: .venv/.dev
	@sh tools/system.sh nginx || echo "bench: it is left out"

docs: var/docs/.installed ## the documentation as a site in var/site, for a browser or any web server; fails on a broken link
	@$(BIN)/python tools/docs_site.py

dist: .venv/.runtime var/dist/.installed tools/dist/node_modules/.installed ## what is published, in dist/: built, checked by twine, publint and attw, installed in clean places, and the guide run with it
	@$(BIN)/python tools/dist.py

lint: .venv/.dev ## style, types, the direction of imports, and that the blocking client is made from the asynchronous one
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "lint: not formatted; run: make fmt" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports >var/lint-imports.log 2>&1 || { cat var/lint-imports.log; exit 1; }
	@$(BIN)/python tools/unasync.py --check
	@echo "lint: clean"

unasync: .venv/.dev ## make the blocking Python client from the asynchronous one
	@$(BIN)/python tools/unasync.py

fmt: .venv/.dev ## format the code and repair what can be repaired
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

# Each of these is done again when what it is made from has changed.
.venv/.base: requirements/base.txt tools/setup.sh
	@sh tools/setup.sh base
	@touch $@

.venv/.weights: $(WEIGHTS) | .venv/.base
	@sh tools/setup.sh weights
	@touch $@

.venv/.runtime: pyproject.toml tools/build_native.py src/everytoken/native/short_path.c .venv/.base .venv/.weights
	@sh tools/setup.sh everytoken
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.runtime
	@sh tools/setup.sh dev
	@touch $@

var/docs/.installed: requirements/docs.txt .venv/.base
	@sh tools/setup.sh docs
	@touch $@

var/dist/.installed: requirements/dist.txt .venv/.base
	@sh tools/setup.sh dist
	@touch $@

tools/dist/node_modules/.installed: tools/dist/package-lock.json
	@npm ci --prefix tools/dist --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

var/clients/.installed: requirements/clients.txt .venv/.base
	@sh tools/setup.sh clients
	@touch $@

var/frameworks/.installed: requirements/frameworks.txt .venv/.base
	@sh tools/setup.sh frameworks
	@touch $@

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --upgrade

# What LiteLLM and LlamaIndex bring along for other things than asking a model.
UNUSED = $(patsubst %,--no-emit-package %,boto3 botocore s3transfer jmespath hf-xet huggingface-hub tokenizers networkx nltk joblib)

lock: .venv/.dev ## write requirements/*.txt anew from pyproject.toml, everything in its newest version
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(LOCK) pyproject.toml --group setup --group dev --group bench -o requirements/dev.txt
	@$(LOCK) pyproject.toml --group setup -c requirements/dev.txt -o requirements/base.txt
	@$(LOCK) --group docs -o requirements/docs.txt
	@$(LOCK) --group dist -o requirements/dist.txt
	@$(LOCK) pyproject.toml --group setup --group guide -c requirements/dev.txt -o requirements/guide.txt
	@$(LOCK) --group clients $(UNUSED) -o requirements/clients.txt
	@$(LOCK) --group frameworks -o requirements/frameworks.txt

clean: ## remove everything that make has made, the fetched weights included
	rm -rf .venv var dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	rm -f weights/everytoken_model_smollm2/*.gguf
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name node_modules -prune -exec rm -rf {} +
