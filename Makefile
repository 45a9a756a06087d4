PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint slow clean

demo: .venv/installed
	$(BIN)/uke demo

test: .venv/developed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow"

slow: .venv/developed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow

lint: .venv/developed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[offline]"
	touch $@

# libreyolo brings the OpenCV build with windows; where the system lacks their libraries, the one without will do
.venv/developed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[offline,pandas,hub,dev]"
	$(BIN)/python -c "import cv2" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps opencv-python-headless
	touch $@ .venv/installed

clean:
	rm -rf .venv runs
