# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-all iam-record lint format bench wer overview long boot-check ami-check ami-lock live chaos chaos-slice server-check page-pictures clean

demo: $(VENV)/.demo
	@$(BIN)/gputx run --on sandbox --output-dir build/demo examples/intervju.mp3

# More processes than cores: commands wait for each other, too.
TESTS ?= not long and not slow
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "$(TESTS)"

# What CI runs: the same with the slow ones, and what IAM grants held against all of it.
test-all:
	$(MAKE) test TESTS="not long"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Figures: ratios within one run. docs/testing.md says what each one means.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/upload.py

# The text on an instance against the text here, for every held-out recording.
wer: $(VENV)/.dev
	$(BIN)/python tools/wer.py --on local --on sandbox

# What takes minutes: a three-hour recording from end to end.
long: $(VENV)/.dev
	$(BIN)/python -m pytest -m long

# User-data on a real Linux with systemd and cloud-init, under qemu: as root, 25 minutes. docs/testing.md.
boot-check: $(VENV)/.dev
	$(BIN)/python tools/boot/check.py

# The recipe of an image in a debootstrapped Debian, for real: apt, systemd-analyze, paths. As root; docs/ami.md.
ami-check: $(VENV)/.dev
	$(BIN)/python tools/ami/check.py $(AMI)

# The locks of the recipe written again, with uv; what a person does when constraints.txt changes.
ami-lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet 'uv>=0.13'
	$(BIN)/python tools/ami/lock.py --uv $(BIN)/uv $(AMI)

# On your own account: build the image, transcribe, reap, within a budget. Costs money: make live LIVE='--budget 3 --yes'
live: $(VENV)/.dev
	$(BIN)/python tools/live.py $(LIVE)

# gputx killed everywhere it can be killed, over an hour; the figures go into docs/reliability.md. What was interrupted
# goes on with: make chaos CHAOS=--resume
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --report $(CHAOS)

# The server besieged for some minutes: faults, memory, how fast /health stays. docs/server.md has the figures.
server-check: $(VENV)/.dev
	$(BIN)/python -m tests.hostile $(SIEGE)

# The pictures of docs/page.md, of the page as it is now; needs chromium.
page-pictures: $(VENV)/.dev
	GPUTX_PAGE_PICTURES=docs $(BIN)/python -m pytest tests/page/test_page_looks.py -k pictures

# A few trials of each campaign, as in every `make test-all`.
chaos-slice: $(VENV)/.dev
	$(BIN)/python -m pytest tests/chaos/test_chaos_slice.py

# iam/commands.json, written from what the last `make test-all` saw gputx need of IAM: docs/iam.md.
iam-record: $(VENV)/.dev
	$(BIN)/python -m tests.iam_record build/needs.jsonl

# The text of `gputx --help`, written from the commands themselves.
overview: $(VENV)/.dev
	$(BIN)/python tools/overview.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gputx needs Python 3.11 or newer; say which: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint constraints.txt pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (once; a minute or two)" >&2
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	@touch $@ $(VENV)/.demo
