# One command each; the first one that needs it sets up .venv (about two minutes).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready-docs
# Waiting threads that spin slow down everything else on a small or shared machine.
export OMP_WAIT_POLICY ?= PASSIVE

# The hosts, each by the marker of the tests that need it, and their names on PyPI.
HOSTS := det seg cls
HOST_det := onedl-mmdetection
HOST_seg := onedl-mmsegmentation
HOST_cls := onedl-mmpretrain

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-long test-hosts $(HOSTS:%=test-%) test-matrix lint \
    format docs doctor dist clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)  ## create .venv from the pinned files under requirements/

# PYTHON counts only when .venv is made: another one, given later, would do nothing.
.PHONY: same-python
same-python:
ifneq ($(origin PYTHON),file)
	@python=$$($(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])') || exit 1; \
	if [ -e $(BIN)/python ] && [ ! -e $(BIN)/$$python ]; then \
	    echo "$(VENV) has another Python than PYTHON=$(PYTHON): rm -rf $(VENV) to start again, or leave PYTHON out."; \
	    exit 1; \
	fi
endif

$(READY): $(filter-out requirements/docs.txt,$(wildcard requirements/*.txt)) pyproject.toml setup.py | same-python
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else \
	    f"$(PYTHON) is Python {v[0]}.{v[1]}; use 3.10, 3.11 or 3.12: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools<82' wheel
	$(BIN)/python -m pip install -r requirements/torch.txt
	$(BIN)/python -m pip install -r requirements/torch.txt -r requirements/onedl.txt -r requirements/dev.txt
	$(BIN)/python -m pip install -qq --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

demo: $(READY)  ## train, evaluate and draw a classifier, an UperNet and a Mask R-CNN
	$(BIN)/mmpatchconvnet demo

test: $(READY)  ## every test, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 10

test-fast: $(READY)  ## the tests that take seconds
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-long: $(READY)  ## 300 random cases of each property instead of 25; an hour or two
	$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile long

test-hosts: $(HOSTS:%=test-%)  ## with each host alone, the tests that need no other

$(HOSTS:%=test-%): OTHERS = $(filter-out $*,$(HOSTS))
$(HOSTS:%=test-%): test-%: $(VENV)-%/.ready
	$(<D)/bin/python -m pytest -n 2 tests -m 'not $(firstword $(OTHERS)) and not $(lastword $(OTHERS))'

$(HOSTS:%=$(VENV)-%/.ready): $(VENV)-%/.ready: $(VENV)-torch/.ready requirements/onedl.txt requirements/dev.txt pyproject.toml setup.py
	$(PYTHON) -m venv --clear $(@D)
	ls -d $(abspath $(<D))/lib/python*/site-packages > $$(echo $(@D)/lib/python*/site-packages)/torch.pth
	$(@D)/bin/python -m pip install -c requirements/onedl.txt -c requirements/dev.txt \
	    setuptools onedl-mmcv $(HOST_$*) hypothesis pytest pytest-xdist \
	    --config-settings editable_mode=compat --editable .
	@touch $@

test-matrix: $(READY)  ## with other versions of Python, PyTorch, NumPy and the hosts
	$(BIN)/python tools/test_matrix.py

# One copy of PyTorch, which is 6 GB, for the three of them.
$(VENV)-torch/.ready: requirements/torch.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -r $<
	@touch $@

lint: $(READY)  ## ruff (lint and format), mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY_DOCS)  ## build the documentation site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'The site is in work_dirs/site/index.html.'

$(READY_DOCS): requirements/docs.txt $(READY)
	$(BIN)/python -m pip install -r requirements/docs.txt
	@touch $@

doctor: $(READY)  ## say what is installed and what is missing
	$(BIN)/mmpatchconvnet doctor

dist: $(READY)  ## build the wheel
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove what the targets made, .venv included
	rm -rf $(VENV) $(VENV)-* work_dirs dist build mmpatchconvnet/.mim *.egg-info
