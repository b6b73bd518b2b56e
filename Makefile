# `make demo` and `make test` do everything on a fresh machine. tools/run chooses where: here, or in the box.

RUN := tools/run
ARGS ?=
DRY_RUN ?=
# Threads that wait for each other sleep: with more threads at work than cores, spinning costs ten times the work.
export OMP_WAIT_POLICY ?= passive
.DEFAULT_GOAL := help
.PHONY: help setup build install uninstall demo test lint bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 18

setup: ## put in place what is missing: Krita, torch, a compiler (up to two minutes, once)
	@tools/setup $(if $(DRY_RUN),--dry-run)

build: setup ## build the C++ extension for Krita's Python
	@$(if $(DRY_RUN),echo "build: would run build_ext.py",$(RUN) python3 build_ext.py)

install: build ## put the plugin into your Krita, and torch for an NVIDIA card; DRY_RUN=1 only says what that would do
	@$(if $(DRY_RUN),python3 tools/torch_cuda.py --dry-run,$(RUN) python3 tools/torch_cuda.py)
	@$(if $(DRY_RUN),python3 tools/install.py --dry-run,$(RUN) python3 tools/install.py)

uninstall: ## take the plugin out of your Krita
	@python3 tools/install.py --uninstall $(if $(DRY_RUN),--dry-run)

demo: install ## the main job in real Krita; leaves build/demo/result.kra, result.png and a screenshot
	@$(RUN) python3 tools/demo.py --out build/demo

test: build ## all tests, those in real Krita included; ARGS="-k name" goes to pytest
	@$(RUN) python3 -m pytest -rs -n 4 --dist loadfile $(ARGS)

lint: ## ruff and mypy
	@tools/lint

bench: build ## the figures in the README, on this machine
	@set -e; for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; env -u OMP_WAIT_POLICY $(RUN) python3 $$script; done

clean: ## remove what was built (the box stays in the cache folder)
	@python3 build_ext.py --clean
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
