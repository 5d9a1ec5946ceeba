# One venv, one constraints file, no tool beyond python3.11 and make.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo docs mini test test-slow test-all check format viewer wheel release lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## the virtual environment, with the project in it

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## a synthetic study in, a heatmap, a DICOM-SEG and a score out
	$(BIN)/headclip demo --out out/demo

docs: setup  ## the documentation site in build/site; any warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs build/site

mini: setup  ## train headclip-mini anew from procedural images (hours on a CPU)
	$(BIN)/python -m research.mini.make --out out/mini --resume

test: setup  ## the quick tests
	$(BIN)/python -m pytest -m 'not slow' -n auto --dist worksteal

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n auto --dist worksteal

test-all: setup  ## every test, with coverage
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

viewer: setup  ## the viewer that a slow test looks at segmentations with, by npm
	$(BIN)/python -m tests.service.ohif

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## write the code the way `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The wheel is built from the sdist, so that the sdist is known to be whole. The bill of materials lists
# what constraints.txt pins, which is what everything is tested with.
release:  ## wheel, sdist, bill of materials and checksums in dist/
	rm -rf build dist
	$(PYTHON) -m venv --clear build/release
	build/release/bin/python -m pip install --quiet build twine cyclonedx-bom
	build/release/bin/python -m build --outdir dist . > build/release.log
	build/release/bin/twine check --strict dist/*
	build/release/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.cdx.json constraints.txt
	cd dist && sha256sum *.whl *.tar.gz sbom.cdx.json > SHA256SUMS && sha256sum --check SHA256SUMS

# The dependencies are several gigabytes, so the wheel's own venv borrows those of $(VENV) by a path
# file. The project itself comes from the wheel alone: path files found along a borrowed path are not
# read, so the editable install stays out. venv's own old setuptools would hide the borrowed one.
# `pip check` holds the wheel's own list of requirements against what is there.
wheel: setup release  ## run the released wheel in a venv of its own
	$(PYTHON) -m venv --clear build/venv
	build/venv/bin/python -m pip install --quiet --no-deps dist/*.whl
	build/venv/bin/python -m pip uninstall --quiet --yes setuptools
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$(build/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	build/venv/bin/python -m pip check
	cd build && venv/bin/python -c 'import headclip_med; assert "build/venv" in headclip_med.__file__'
	cd build && venv/bin/headclip --version
	cd build && venv/bin/headclip demo --out demo
	cd build && venv/bin/python ../tests/core_only.py core

lock:  ## write constraints.txt anew from pyproject.toml
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet '.[dev]'
	build/lock/bin/python -m pip freeze --exclude headclip-med | sed 's/+cpu$$//' > constraints.txt

clean:  ## everything that can be made again
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
