PYTHON ?= python3
VENV ?= .venv
STORE ?=
SECONDS ?= 150
SEED ?=
CONCURRENCY ?=
EFFECT ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
DOCS_READY := $(VENV)/.docs-ready
BROWSER_READY := $(VENV)/.browser-ready
WITH_SERVER := $(BIN)/python -m tests.servers
DEMO := $(BIN)/webhook-dedup demo
# More workers than cores, as tests wait much, for servers and for leases. The files go out in the
# order of tests/conftest.py, the longest first. Bytecode is kept, whatever the environment says: each
# of the hundreds of processes that tests start would compile everything again.
TESTS := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo bench bench-full chaos providers test lint format browser screenshots docs newcomer wheel-smoke clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(READY)  ## Send one event five times; STORE=sqlite, redis, postgres, memory, bloom or a URL
	@case '$(STORE)' in \
	  ''|sqlite) $(DEMO) ;; \
	  redis|postgres) $(WITH_SERVER) '$(STORE)' -- $(DEMO) --store '{url}' ;; \
	  memory|bloom) $(DEMO) --store '$(STORE)://' ;; \
	  *) $(DEMO) --store '$(STORE)' ;; \
	esac

chaos: $(READY)  ## Kill, freeze and cut off servers, count what is lost; STORE=, SECONDS=, SEED=, CONCURRENCY=, EFFECT=
	@mkdir -p build
	$(BIN)/python -m benchmarks.chaos --seconds $(SECONDS) --json build/chaos.json \
	  $(if $(STORE),--store $(STORE)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(EFFECT),--effect $(EFFECT)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY))

bench: $(BENCH_READY)  ## Compare the stores, in under three minutes
	$(BIN)/python -m benchmarks.bench

bench-full: $(BENCH_READY)  ## Compare the stores and their peers at full size; takes long
	$(BIN)/python -m benchmarks.bench --full

providers: $(READY)  ## Write the README's table of providers from the catalog
	$(BIN)/python -m webhook_dedup.providers.table README.md

test: $(READY)  ## Run the tests on a real Redis and a real PostgreSQL
	$(TESTS) $(PYTEST_ARGS)

lint: $(READY)  ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

browser: $(BROWSER_READY)  ## Look at the dashboard in a real browser, the machine's Chromium
	$(BIN)/python -m pytest tests/dashboard/browser/check_pages.py $(PYTEST_ARGS)

screenshots: $(BROWSER_READY)  ## Take the dashboard's pictures in docs/images
	$(BIN)/python -m tests.dashboard.browser.screenshots docs/images

docs: $(DOCS_READY)  ## Build the documentation into build/docs/site
	$(BIN)/python docs/generator build/docs
	$(BIN)/zensical build --clean --strict --config-file build/docs/mkdocs.yml
	@! grep -rnE --include='*.html' '<(script|link|img|iframe)[^>]+(src|href)="?(https?:)?//' build/docs/site

newcomer:  ## Follow the tutorial literally, with a watch
	$(PYTHON) -m tests.newcomer

wheel-smoke: $(READY)  ## Build the wheel and try it alone in an empty environment
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) -m venv --clear build/smoke
	build/smoke/bin/pip install --quiet dist/*.whl
	cd build && smoke/bin/python -I ../.ci/wheel_smoke.py

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build dist

# Groups of dependencies (PEP 735) need pip 25.1. The stamp comes last, so that a broken set-up is
# made again.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

$(BROWSER_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group browser
	@touch $@
