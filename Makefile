.DEFAULT_GOAL := help
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
EVERYTHING := test,shop,lint

.PHONY: help build demo test test-native test-python lint test-oldest docs bench asan clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

CORE := pyproject.toml $(wildcard src/noops_agent/_core/*.pyx src/noops_agent/_core/*.pxi src/noops_agent/_core/*.c src/noops_agent/_core/*.h)

define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing noops_agent[$(1)] into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$(1)]'
	@$(BIN)/python -c "import noops_agent._core as c; print('core:', c.NAME, c.WHY and '(%s)' % c.WHY)"
	@touch $@
endef

$(VENV)/.demo: $(CORE)
	$(call install,shop)

$(VENV)/.all: $(CORE)
	$(call install,$(EVERYTHING))

build: $(VENV)/.all  ## make .venv with the package, its extras and the development tools

demo: $(VENV)/.demo  ## start the example shop, drive load through it, show its newest traces
	@$(BIN)/python examples/shop/demo.py

test: build test-native test-python  ## install what the tests need and run them all

# Tests of crashes, forks and servers share the machine with whatever else it does just now: what failed is run once more,
# alone, and has to pass then. Both runs are in the output.
test-native:
	$(BIN)/python -m pytest -q || $(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none

test-python:
	NOOPS_CORE=python $(BIN)/python -m pytest -q tests/unit tests/contract

test-oldest: $(VENV)-oldest/.made  ## run the contract suite beside the oldest releases of the most used libraries
	$(VENV)-oldest/bin/python -m pytest -q -p no:cacheprovider tests/instrumentation/test_contract.py \
		-k "aiohttp or celery or django or fastapi or flask or httpx or psycopg2 or redis or requests or sqlalchemy or starlette or urllib3"

$(VENV)-oldest/.made: tests/versions/oldest.txt $(CORE)
	@test -x $(VENV)-oldest/bin/python || $(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install -q --disable-pip-version-check -e . -r tests/versions/oldest.txt
	@touch $@

lint: build  ## style, import rules, types
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: build  ## run the benchmarks and write their table into the README
	$(BIN)/python benchmarks/run.py

docs: build  ## write docs/settings.md and docs/messages.md anew
	$(BIN)/python -m noops_agent config --markdown docs

asan: build  ## run the tests of the native core under AddressSanitizer
	CFLAGS="-fsanitize=address -fno-omit-frame-pointer -g -O1" LDFLAGS="-fsanitize=address" \
		$(BIN)/python -m pip install -q --no-deps --upgrade --target build/asan .
	PYTHONPATH=build/asan LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) PYTHONMALLOC=malloc NOOPS_CORE=native \
		ASAN_OPTIONS=detect_leaks=0:handle_segv=0 $(BIN)/python -m pytest -q tests/contract tests/fuzz/test_encoder.py tests/native

clean:  ## remove what was built
	rm -rf build dist $(VENV) $(VENV)-oldest .bench src/*.egg-info src/noops_agent/_core/native.c src/noops_agent/_core/metrics.c
