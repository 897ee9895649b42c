# Every verb sets up what it needs: from nothing but Python >= 3.11, make and a clone.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BROWSERS := chromium-headless-shell chromium chromium-browser google-chrome chrome
QUESTION ?= Until which year do the developers intend to support SQLite?

.PHONY: help install models vllm browser demo wheel sanitize check test bench fuzz clean

help:
	@echo "make install  the environment in $(VENV), with everything for running and testing"
	@echo "make models   fetch the models that the samples and tests use (about 250 MB, once)"
	@echo "make vllm     install vLLM's CPU build for the tests of a real server (3.5 GB, once)"
	@echo "make browser  Chromium for the tests of the trace page, as root on Debian (50 MB, once)"
	@echo "make demo     answer a question from the sample's documents and show the trace"
	@echo "make wheel    dist/: a wheel that carries the CPU kernels, for machines without a compiler"
	@echo "make sanitize the kernels under AddressSanitizer and UBSan, on every instruction set here"
	@echo "make test     all tests, on real models too"
	@echo "make check    lint, types, architecture"
	@echo "make bench    the benchmarks (minutes)"
	@echo "make fuzz     a thousand damaged model files (minutes)"

install: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar on --editable ".[dev]"
	touch $(STAMP)

models: $(STAMP)
	$(BIN)/teola models fetch smollm2-135m all-minilm-l6-v2

vllm: $(STAMP)
	$(BIN)/teola engine install vllm --cpu

# Where it cannot be had, the tests of the page are skipped.
browser:
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "no Chromium here; install one, or run 'make browser' as root on Debian"; exit 0; fi; \
	export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	apt-get install -qq -y --no-install-recommends chromium-headless-shell fonts-dejavu-core || \
	apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core || \
	echo "Chromium could not be installed; the tests of the trace page are skipped"

demo: models
	$(BIN)/run-graph samples/advanced_rag.py:rag --question "$(QUESTION)" \
	    --files samples/data/sqlite --trace .demo/trace.jsonl
	$(BIN)/teola trace .demo/trace.jsonl

wheel: $(STAMP)
	TEOLA_WHEEL_KERNELS=1 $(BIN)/python -m hatchling build --target wheel

sanitize: $(STAMP)
	$(BIN)/python tests/sanitize_kernels.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict samples tests/typing
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/test_architecture.py

test: models browser
	$(BIN)/teola models fetch bert-mini-reranker
	-$(BIN)/teola engine install vllm --cpu  # where it cannot be had, its tests are skipped
	$(BIN)/python -m pytest

fuzz: models
	$(BIN)/python -W ignore tests/backends/fuzz_model_files.py --cases 1000 \
	    --gguf "$$($(BIN)/python -c 'from backends.models.fetch import locate; print(locate("smollm2-135m"))')"

bench: models
	$(BIN)/python benchmarks/bench_app.py

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
