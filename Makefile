# keensight: two commands are enough, `make demo` and then your own folder.
PYTHON ?= python3
BIN := .venv/bin

SEEDS ?= 1
DATA ?= ../shared/data

# What was compiled is kept: the tests start Python often, and a suite without takes half a minute more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo example test test-thorough test-slow test-studio test-system dist docs fuzz pictures promises bench audit-bench bench-smoke lint format clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: .venv/installed  ## set up .venv with everything that one machine's user needs

demo: .venv/installed  ## set up, then train, evaluate, attack and predict on built-in digits
	@$(BIN)/keensight demo

test: .venv/developing  ## set up, then run the fast tests: three to four minutes on two cores
	$(BIN)/pytest -n 2 --dist worksteal -m "not thorough and not slow and not system"

test-thorough: .venv/developing .venv-keras/installed  ## whole runs: a browser, servers, killed training, real Keras: minutes
	$(BIN)/pytest -n 2 --dist worksteal -m "thorough and not slow and not system"

test-slow: .venv/developing  ## the tests of minutes each: real data, training to the end
	$(BIN)/pytest -m slow

test-studio: .venv/developing  ## drive the studio in a real Chromium as a person does: a minute or two
	$(BIN)/pytest tests/serving/studio

test-system: .venv/developing .venv-backbones/installed  ## build and run the container, and lose no request while servers are replaced
	scripts/apt-install buildah podman runc mmdebstrap nginx-light
	$(BIN)/pytest -m system tests/system

test-scale: .venv/developing  ## train on two machines that are network namespaces of this one; cut, kill, come back: minutes, as root
	scripts/apt-install iproute2
	$(BIN)/pytest -rs -m system tests/scale

example: .venv/installed .venv-keras/installed  ## train, sign, tamper, quantise and import on real pictures: examples/sealed_bundle.sh
	scripts/apt-install unzip
	examples/sealed_bundle.sh $(DATA)/planesnet.zip

dist: .venv/developing  ## build sdist and wheels into dist/, and train and predict from each in an empty environment
	scripts/check-dist $(BIN)/python

docs: .venv/documenting  ## build docs/ as a site into site/, strictly, and run its notebooks: some minutes
	$(BIN)/mkdocs build --quiet --strict

fuzz: .venv/developing  ## give 100,000 hostile pictures to the decoders, and as many requests to a server: half an hour
	$(BIN)/python tests/data/fuzz.py
	$(BIN)/python tests/serving/fuzz.py tests/bundle/frozen/bundle

pictures: .venv/developing  ## take the docs' pictures of the report and the server's page anew: some minutes
	. .venv/bin/activate && scripts/take-pictures

promises: .venv/developing  ## train every recipe, check its promise, rewrite docs/results.md: hours; RECIPES="a b" SEEDS=3
	$(BIN)/python benchmarks/promises.py --seeds $(SEEDS) --data $(DATA) $(RECIPES)

bench: .venv/developing .venv-bench/installed  ## measure against Keras, torch and scikit-learn, rewrite docs/benchmarks.md: hours; ROWS="a b"
	$(BIN)/python benchmarks/bench.py --data $(DATA) $(ROWS)

audit-bench: .venv/developing  ## measure what `keensight audit` finds of planted copies, wrong labels, patches, hidden pictures, and backdoors in models: minutes; SEEDS=3
	$(BIN)/python benchmarks/audit.py --data $(DATA) --seeds $(SEEDS)

bench-smoke: .venv/developing  ## check that what makes keensight fast still does: two minutes
	$(BIN)/python benchmarks/smoke.py

lint: .venv/developing  ## ruff, mypy, and the licences of what users install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/mypy --config-file benchmarks/mypy.ini benchmarks/*.py benchmarks/peers/*.py
	$(BIN)/python scripts/licences --check

format: .venv/developing  ## let ruff put the code into shape
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

clean:  ## remove what the targets above made
	rm -rf .venv .venv-bench .venv-keras .venv-backbones build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/installed: pyproject.toml constraints.txt scripts/make-venv $(wildcard src/keensight/kernels/*.[ch])
	scripts/apt-install gcc libc6-dev
	scripts/make-venv $(PYTHON)
	@echo "Installing into .venv: about 1.5 GB on disk, a minute or two."
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

.venv/developing: .venv/installed scripts/apt-install
	scripts/apt-install dataset-fashion-mnist chromium-headless-shell postgresql
	# Debian's pip knows no dependency groups yet
	$(BIN)/python -m pip install --quiet -c constraints.txt 'pip>=25.1'
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all,backbones,scale]' --group dev
	# they name torchvision, which has no build for our torch; what is used of them does not import it
	$(BIN)/pip install --quiet --no-deps torchattacks==3.5.1 torchcp==1.2.1 pytorch-ood==0.4.0
	@touch $@

.venv/documenting: .venv/developing
	$(BIN)/pip install --quiet -c constraints.txt --group docs
	@touch $@

.venv-keras/installed: .venv/installed scripts/make-keras-venv benchmarks/constraints-bench.txt
	scripts/make-keras-venv $(PYTHON)
	@touch $@

.venv-backbones/installed: .venv/installed scripts/make-backbones-venv
	scripts/make-backbones-venv $(PYTHON)
	@touch $@

.venv-bench/installed: scripts/make-bench-venv benchmarks/constraints-bench.txt
	@echo "Installing what to measure against into .venv-bench: about 3 GB on disk, some minutes."
	scripts/make-bench-venv $(PYTHON)
	@touch $@
