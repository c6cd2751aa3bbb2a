# make serve, make test: everything they need is made or installed first. make help lists the rest.

VENV ?= .venv
BIN := $(VENV)/bin
# Passed on to the program that the target runs: make serve ARGS="--port 104", make test ARGS="tests/ul -x".
ARGS ?=
FUZZ_SECONDS ?= 300
# All tests are run by several processes; a few are not, which start sooner so and can be debugged.
TEST_PROCESSES ?= auto
AT_ONCE := --numprocesses=$(TEST_PROCESSES) --maxprocesses=8 --dist=worksteal

# The only list of what Debian has to provide. Runtime needs nothing of it.
TEST_PACKAGES := dcmtk e2fsprogs gcc libc6-dev libgdcm-tools openssl orthanc
BENCH_PACKAGES := dcmtk gcc libc6-dev orthanc strace

RUNTIME := requirements/build.txt requirements/runtime.txt
DEV := $(RUNTIME) requirements/dev.txt
# Beside the environment's own files, so that removing it forgets what was installed.
RUNTIME_DONE := $(VENV)/.pacslite-runtime
DEV_DONE := $(VENV)/.pacslite-dev

.PHONY: help serve test check bench fuzz fmt defaults lock clean

help:
	@echo "make serve   run the server (ARGS=... for pacslite serve)"
	@echo "make test    all tests (ARGS=... for pytest)"
	@echo "make check   formatting, lint, types, architecture"
	@echo "make bench   compare with other servers (ARGS=... for python -m bench)"
	@echo "make fuzz    fuzz the protocol for FUZZ_SECONDS=$(FUZZ_SECONDS) seconds"
	@echo "make fmt     format the code"
	@echo "make defaults  write config/pacslite.toml anew"
	@echo "make lock    resolve all dependencies anew"
	@echo "make clean   remove caches and the virtual environment; data stays"

serve: $(RUNTIME_DONE)
	@exec $(BIN)/pacslite serve $(ARGS)

test: $(DEV_DONE)
	@scripts/debian-packages $(TEST_PACKAGES)
	$(BIN)/pytest $(if $(findstring tests/,$(ARGS))$(filter -n% --pdb --trace -s,$(ARGS)),,$(AT_ONCE)) $(ARGS)

check: $(DEV_DONE)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet tests/test_architecture.py

bench: $(DEV_DONE)
	@scripts/debian-packages $(BENCH_PACKAGES)
	$(BIN)/python -m bench $(ARGS)

fuzz: $(DEV_DONE)
	$(BIN)/python tests/ul/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)

fmt: $(DEV_DONE)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

defaults: $(RUNTIME_DONE)
	$(BIN)/pacslite config default > config/pacslite.toml

lock:
	scripts/lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME_DONE): $(RUNTIME) pyproject.toml scripts/make-venv
	scripts/make-venv $(VENV) $(RUNTIME)
	@touch $@

$(DEV_DONE): $(DEV) pyproject.toml scripts/make-venv
	scripts/make-venv $(VENV) $(DEV)
	@touch $@ $(RUNTIME_DONE)
