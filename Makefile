# make run; make test; make test-configs, -gradients, -accelerators, -lecture, -faults and -docs, and with make test all of
# these at once: -all; make test-scale, -published, -torch, -oldest; make docs; make lint; make bench, and bench-kernels, -parts,
# -input, -start, -scale, -seeds, -tpu; make accelerator, carry. Everything lives in .venv.
VENV   := .venv
BIN    := $(VENV)/bin
# The newest Python from 3.13 down to 3.11 that has venv: on the PATH, then among pyenv's. A pyenv shim without a Python
# behind it fails the test. PYTHON=... overrides.
PYENV  := $(or $(PYENV_ROOT),$(HOME)/.pyenv)
newest  = $(shell for version in $(1); do for python in python$$version python3 $(PYENV)/versions/$$version.*/bin/python3; do \
	$$python -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2>/dev/null && echo $$python && exit; done; done)
PYTHON ?= $(call newest,3.13 3.12 3.11)
# pip would compile all 11,000 modules, a minute on one core; those that are imported are compiled, and kept, when they are.
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-compile --editable
unexport PYTHONDONTWRITEBYTECODE

# A process of tests for each core, up to four, of some 3 GB each; WORKERS=... overrides.
WORKERS  := auto
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 4
# Tests of a file share what they set up; the longest files begin (tests/conftest.py).
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: run test test-configs test-gradients test-accelerators test-lecture test-faults test-scale test-published test-docs \
	test-all test-torch test-oldest docs bench bench-kernels bench-parts bench-input bench-start bench-scale bench-seeds \
	bench-tpu accelerator carry lint clean

run: $(VENV)/installed
	@$(BIN)/python run.py

test: lint
	$(BIN)/python -m pytest -q $(PARALLEL) $(BY_FILE)

# Every variant of every config.
test-configs: $(VENV)/installed-test
	$(BIN)/python -m pytest -q $(PARALLEL) -m configs tests/test_configs.py tests/training/test_boosting.py

# Gradients of the networks with all their layers, some for small images: minutes, and some 4 GB of memory.
test-gradients: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -m gradients

# The steps of the networks, lowered for CUDA, ROCm and TPUs on a CPU.
test-accelerators: $(VENV)/installed-test
	$(BIN)/python -m pytest -q $(PARALLEL) -m accelerators tests/test_accelerators.py

# Runs that are killed, lack files or space, or have wrong flags: docs/reliability.md. Most of the time they start, on a core each.
test-faults: $(VENV)/installed-test
	$(BIN)/python -m pytest -q $(PARALLEL) $(BY_FILE) -m faults

# A data set of ImageNet's true size and layout, of tiny images: 3 GB in the temporary folder, minutes.
test-scale: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -s -m scale tests/test_scale.py

# The published weights of CIFAR ResNets, from CONVNETS_SHARED, and the networks of experiments/weights, on their whole test
# sets: a minute or two.
test-published: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -rs -m published tests/test_published.py

# The commands of docs/lecture.md, cut down to their smallest size; not those that need ImageNet or a weights file.
test-lecture: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -s -m lecture tests/test_lecture.py

# The site, build/site/index.html, without a network: the pages, the notebook, the docstrings. A broken link fails.
docs: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[docs]'
	$(BIN)/ruff check --quiet convnets  # a missing docstring
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going -c docs . build/site
	@cp build/site/README.html build/site/index.html

# The site in Debian's Chromium (tests/browser/install.sh), and the notebook at its smallest size.
test-docs: docs
	$(BIN)/python -m pytest -q -rs $(PARALLEL) -m docs tests/test_docs.py

# All of the above but test-scale and test-published, in one pytest: no core waits for the last test of a target. With -j2,
# lint and docs run side by side.
test-all: lint docs
	$(BIN)/python -m pytest -q -rs $(PARALLEL) $(BY_FILE) -m "not scale and not published"

# Against reference networks in PyTorch, which is large and only wanted here.
test-torch: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[test-torch]'
	$(BIN)/python -m pytest -q tests/models/pretrained/test_published.py

# The oldest Python and jax that we support, in an environment of their own: that it installs, runs, computes and resumes.
OLDEST := layers/test_cpu_kernels training/test_train_step training/test_curvature training/test_checkpoint data/test_dataset test_run
test-oldest:
	$(MAKE) VENV=.venv-3.11 PYTHON="$(call newest,3.11)" run
	$(MAKE) VENV=.venv-3.11 .venv-3.11/installed-test
	.venv-3.11/bin/python -m pytest -q $(PARALLEL) $(BY_FILE) $(OLDEST:%=tests/%.py)

# Images/s in training and inference beside PyTorch, an hour for all; meant for an idle machine.
bench: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[test-torch]'
	$(BIN)/python benchmarks/train.py

# Images/s beside a PyTorch DataLoader; meant for an idle machine.
bench-input: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[test-torch]'
	$(BIN)/python benchmarks/input.py

# Whether each form of convnets/layers/cpu_kernels.py is worth it; meant for an idle machine.
bench-kernels: $(VENV)/installed
	@$(BIN)/python benchmarks/kernels.py

# Where the time of a step goes; meant for an idle machine.
bench-parts: $(VENV)/installed
	@$(BIN)/python benchmarks/parts.py

# Seconds from the command to the first step, beside PyTorch; meant for an idle machine.
bench-start: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[test-torch]'
	$(BIN)/python benchmarks/start.py

# What a step costs as batch, depth and devices grow; meant for an idle machine.
bench-scale: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[test-torch]'
	$(BIN)/python benchmarks/scale.py

# What compiling for a TPU costs, without one; libtpu is for an environment of its own.
bench-tpu:
	$(MAKE) VENV=.venv-tpu .venv-tpu/installed
	@.venv-tpu/bin/$(INSTALL) '.[tpu]'
	.venv-tpu/bin/python benchmarks/tpu_compile.py

# Whether several seeds as one program are faster than one after the other: for a machine with an accelerator.
bench-seeds: $(VENV)/installed
	@$(BIN)/python benchmarks/seeds.py

# All that is worth measuring on one NVIDIA GPU, in order of value, and how long it may take: docs/accelerators.md.
SECONDS := 840
accelerator: $(VENV)/installed-test
	@$(BIN)/$(INSTALL) '.[cuda,test-torch]'
	$(BIN)/python run.py --mode=prepare --config=configs/resnet_cifar.py:20
	$(BIN)/python benchmarks/accelerator.py --seconds=$(SECONDS)

# For a GPU machine without package index and TensorFlow: wheels for Python 3.12, decoded CIFAR-10 in parts of 45 MB.
CARRY  := .carry
carry: $(VENV)/installed
	rm -rf $(CARRY) && mkdir -p $(CARRY)/wheels
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		--dest $(CARRY)/wheels google-crc32c ml-collections tensorboardX
	CONVNETS_CACHE=$(CURDIR)/$(CARRY)/cache $(BIN)/python run.py --mode=prepare --config=configs/resnet_cifar.py:20
	tar cz -C $(CARRY)/cache data | split --bytes=45MB --numeric-suffixes - $(CARRY)/cifar10. && rm -r $(CARRY)/cache
	$(BIN)/python -c "from convnets.runtime import provenance; print(provenance.commit())" > $(CARRY)/wheels/commit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: setup.cfg pyproject.toml
	@if test -x $(BIN)/python; then echo "$(VENV) has $$($(BIN)/python -V); after 'rm -r $(VENV)' the newest is taken"; else \
		python="$(PYTHON)"; test -n "$$python" || { echo "Python 3.11, 3.12 or 3.13 with venv is needed: set PYTHON=..."; exit 2; }; \
		echo "taking $$($$python -V) ($$python): $(if $(filter file,$(origin PYTHON)),the newest of 3.13 3.12 3.11 found; PYTHON=... overrides,set by PYTHON)"; \
		$$python -m venv $(VENV); fi
	@case "$$($(BIN)/python -V)" in *" 3.11."*) echo "jax will be 0.10.2, the last for Python 3.11: training is slower and takes more memory than with jax 0.12";; esac
	@echo "installing some 85 packages into $(VENV): one to three minutes"
	@$(BIN)/$(INSTALL) .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@$(BIN)/$(INSTALL) '.[test]'
	@touch $@

clean:
	rm -rf .venv* build docs/api
