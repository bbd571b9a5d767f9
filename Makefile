# GNU make 3.81 (macOS) or later, POSIX sh, a Python from 3.11 to 3.14. `make` alone lists the targets.

# The Pythons to try, in order: an existing .venv keeps its version.
PYTHON ?= .venv/bin/python python3.11 python3.12 python3.13 python3.14 python3
RUN = .venv/bin/python

# Prints the version of a Python that can be used, or why it cannot. It must run in any Python.
define CHECK_PYTHON
import platform, sys
version, mac = sys.version_info[:2], platform.mac_ver()[0]
found = "%d.%d" % version
if version < (3, 11):
    sys.exit("Python %s is too old" % found)
if version > (3, 14):
    sys.exit("Python %s is too new: the pinned packages have no wheels for it" % found)
if sys.platform == "darwin" and platform.machine() != "arm64":
    sys.exit("an Intel Python, and MLX needs a native one for Apple Silicon (arm64)")
if sys.platform == "darwin" and mac and int(mac.split(".")[0]) < 14:
    sys.exit("macOS %s is too old: MLX needs macOS 14 or later" % mac)
print(found)
endef
export CHECK_PYTHON

# sh: sets $python and $version to the first Python that can be used, or exits with a reason for each that was found.
FIND_PYTHON = why=; for python in $(PYTHON) ""; do \
		command -v "$$python" >/dev/null 2>&1 || continue; \
		version=$$("$$python" -c "$$CHECK_PYTHON" 2>&1) && break; \
		why=$$(printf '%s\n  %s: %s' "$$why" "$$python" "$$(echo "$$version" | tail -n 1)"); \
	done; \
	[ -n "$$python" ] || { echo "error: no Python from 3.11 to 3.14 among: $(PYTHON)$$why" >&2; \
		echo "  (install one, or name it: make PYTHON=...; on a Mac: brew install python@3.13)" >&2; exit 2; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$$python cannot make virtual environments (install the package python$$version-venv)" >&2; exit 2; }

# The only way in: exactly the wheels that are pinned, whose installation runs no code of theirs.
HASHED = -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --require-hashes

# sh: the tools of requirements-tools.txt in an environment of their own, $tools, which goes when the shell ends.
MAKE_TOOLS = tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; trap 'exit 1' HUP INT TERM; \
	"$$python" -m venv "$$tools"; "$$tools/bin/python" $(HASHED) -r requirements-tools.txt

# sh: refuses a .venv that setup did not make, so that nothing of somebody else's is removed.
OWN_VENV = if [ -L .venv ] || { [ -e .venv ] && [ ! -d .venv ]; } || \
		{ [ -n "$$(ls -A .venv 2>/dev/null)" ] && [ ! -f .venv/.setup ]; }; then \
		echo "error: .venv: not made by make setup, so it will not be emptied (move it away, then run this again)" >&2; exit 2; \
	fi

# The build of PyTorch that setup-torch installs on Linux. The PyPI build brings 3 GB of CUDA; only the CPU index has "+cpu".
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help setup setup-torch setup-gguf demo quick test test-torch test-gpu test-faults test-gguf test-models first-mac check format \
	lock audit sbom clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

# .venv/.setup records the Python and the requirements of a finished setup. If they differ, .venv is made anew.
setup: ## install the pinned requirements into .venv; PYTHON=python3.12 chooses the Python
	@$(FIND_PYTHON); \
	wanted="python $$version, requirements $$(cat requirements.txt requirements-builtin-model.txt | cksum)"; \
	[ "$$(cat .venv/.setup 2>/dev/null)" = "$$wanted" ] && "$(RUN)" -c '' 2>/dev/null && exit; \
	$(OWN_VENV); \
	set -e; trap 'mkdir -p .venv; echo unfinished > .venv/.setup' EXIT; trap 'exit 1' HUP INT TERM; \
	echo "Creating .venv with Python $$version ..."; \
	"$$python" -m venv --clear .venv; \
	echo "Installing the requirements and the builtin model (300 MB): a minute or more ..."; \
	$(RUN) $(HASHED) -r requirements.txt -r requirements-builtin-model.txt; \
	trap - EXIT; echo "$$wanted" > .venv/.setup; \
	echo "Ready: .venv"

# PyTorch first: its CPU build from an index of its own, or the build on PyPI with the CUDA packages that it needs.
setup-torch: setup ## add PyTorch, TRL and PEFT for --backend torch; on Linux, TORCH=cpu or TORCH=cuda chooses the build
	@set -e; build=; [ "$$(uname -s)" = Darwin ] || build=$(TORCH); \
	wanted="build $$build, requirements $$(cat requirements-torch*.txt | cksum)"; \
	[ "$$(cat .venv/.setup-torch 2>/dev/null)" = "$$wanted" ] && exit; \
	echo "Installing PyTorch$${build:+, $$build build}, TRL and PEFT: some minutes ..."; \
	if [ "$$build" = cpu ]; then \
		cpu="$(HASHED) -r requirements-torch-cpu.txt"; \
		$(RUN) $$cpu 2>/dev/null || $(RUN) $$cpu --extra-index-url $(TORCH_INDEX); \
	else $(RUN) -m pip uninstall --quiet --yes torch; $(RUN) $(HASHED) -r requirements-torch-pypi.txt; fi; \
	$(RUN) $(HASHED) -r requirements-torch.txt; \
	echo "$$wanted" > .venv/.setup-torch; \
	echo "Ready: --backend torch"

# llama.cpp's own server in one wheel, for export --to gguf: 34 MB, and nothing else of the project needs it.
setup-gguf: setup ## add llama.cpp, in which export --to gguf tries what it writes (34 MB)
	@wanted="requirements $$(cat requirements-gguf.txt | cksum)"; \
	[ "$$(cat .venv/.setup-gguf 2>/dev/null)" = "$$wanted" ] && exit; \
	set -e; $(RUN) $(HASHED) -r requirements-gguf.txt; \
	echo "$$wanted" > .venv/.setup-gguf; \
	echo "Ready: python -m finetune export --to gguf"

# In a folder of its own, so that it touches none of your rows and adapters.
demo: setup ## prepare rows, train, compare base with tuned: builtin rows and model, no network (20 minutes)
	$(RUN) dataset.py --type sql --dataset-name builtin --sample-size 4000 --valid-fraction 0.01 --test-fraction 0.025 \
		--output-dir demo/data
	$(RUN) train.py --model builtin --data-dir demo/data --adapter-path demo/checkpoints \
		--iters 410 --learning-rate 1e-3 --warmup 20 --steps-per-eval 205
	$(RUN) test_finetuned.py --adapter-path demo/checkpoints --results-dir demo/results --max-tokens 96

quick: setup ## run the tests that need no model and start no script (under a minute)
	@$(RUN) -m pytest -q -m "not model and not scripts and not slow and not faults and not models"

# A process for each core, at most four; each takes one file of tests after the other.
SIDE_BY_SIDE = --numprocesses auto --maxprocesses 4 --dist loadfile

test: setup ## run the tests
	@$(RUN) -m pytest $(SIDE_BY_SIDE)

# Separate, because with PyTorch installed every process that uses transformers takes two seconds longer to start.
test-torch: setup-torch ## run the tests that need PyTorch
	@$(RUN) -m pytest tests/test_torch*.py tests/*/test_torch*.py tests/backends/test_interface.py tests/methods/test_trl_losses.py \
		tests/export/test_adapters.py tests/models/test_pytorch_bin.py \
		tests/models/test_hub.py::test_a_repository_of_pickles_is_fetched_and_converted_once \
		tests/commands/test_doctor.py::test_every_check_is_there_and_each_problem_has_a_remedy

# Elsewhere the tests run on the CPU (tests/conftest.py): their tolerances are those of float32.
test-gpu: setup ## run the tests for a GPU (Metal, CUDA) in bfloat16; FINETUNE_DEVICE=cpu runs the same on the CPU
	@export FINETUNE_DEVICE=$${FINETUNE_DEVICE:-gpu}; \
	PYTHONPATH=. $(RUN) tests/gpu_way.py || exit 0; $(RUN) -m pytest -q -m gpu tests/backends/test_gpu.py

test-faults: setup ## run the fault-injection tests: killed processes, thousands of damaged files, full disks (half an hour)
	@$(RUN) -m pytest -m faults -s

# With llama.cpp: each architecture, and every harmful change of a file.
test-gguf: setup-gguf ## run the tests that need llama.cpp (a minute)
	@$(RUN) -m pytest tests/export/test_llamacpp.py

# With PyTorch installed (make setup-torch) it fills the columns of PEFT, torch and transformers, too.
test-models: setup ## run every model type of mlx-lm through training, answers and adapters: the table of docs/models.md (minutes)
	@$(RUN) -m pytest -m models -s

# Everything that only a machine with a GPU can tell, in one JSON file and one page to send back: docs/first-mac.md
first-mac: setup ## a quarter of an hour of checks on a Mac; QUICK=--quick runs each once with a tiny model
	@$(RUN) benchmarks/first_mac.py $(QUICK)

check: setup ## everything a change must pass: format, lint, types, tests
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy --platform linux
	$(RUN) -m mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(RUN) -m pytest $(SIDE_BY_SIDE)

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

# uv resolves for every platform at once. It keeps the indirect pins of the existing requirements.txt if they still fit; delete
# the file first to renew them all. The PyTorch packages are resolved against those pins; in requirements-torch.txt torch itself
# is a comment, as its build depends on the machine: requirements-torch-pypi.txt has the one on PyPI and its CUDA packages.
lock: ## resolve the Pipfile into the requirements files: every package, pinned and hashed
	@$(FIND_PYTHON); \
	set -e; $(MAKE_TOOLS); \
	"$$tools/bin/python" -c "$$PIPFILE_TO_REQUIREMENTS" packages dev-packages > "$$tools/requirements.in"; \
	"$$tools/bin/python" -c "$$PIPFILE_TO_REQUIREMENTS" torch-packages > "$$tools/torch.in"; \
	"$$tools/bin/python" -c "$$PIPFILE_TO_REQUIREMENTS" tool-packages > "$$tools/tools.in"; \
	export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	compile="$$tools/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-annotate \
		--no-emit-index-url --generate-hashes"; \
	without() { sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p'; }; \
	$$compile "$$tools/tools.in" --output-file requirements-tools.txt; \
	$$compile "$$tools/requirements.in" --output-file requirements.txt; \
	torch="$$compile $$tools/torch.in --constraint requirements.txt $$(without < requirements.txt)"; \
	cuda=$$($$torch | grep -E '^((nvidia|cuda)[a-z0-9._-]*|triton)==' | without); \
	$$torch --no-emit-package torch $$cuda --output-file "$$tools/torch.txt"; \
	{ sed -n 's/^torch==/# torch==/p' "$$tools/torch.in"; grep -v '^# torch==' "$$tools/torch.txt"; } > requirements-torch.txt; \
	$$torch $$(without < requirements-torch.txt) --output-file requirements-torch-pypi.txt; \
	cpu=$$(sed -n 's/^torch==.*/&+cpu/p' "$$tools/torch.in"); \
	grep -qF "$$cpu " requirements-torch-cpu.txt || \
		echo "$$cpu" | $$compile - --no-deps --index $(TORCH_INDEX) --output-file requirements-torch-cpu.txt

# awk: copies every pin once, without its marker; a package with a pin for each of two Pythons is in two files.
define PINS
/^[a-z0-9]/ { sub(/[+]cpu/, "", $$1); is_new = !($$1 in pins); pins[$$1]; split($$1, name, "=="); $$0 = $$1 " \\" }
/^[a-z0-9]/ && is_new { file = folder "/pins" ++seen[name[1]] ".txt" }
/^[^#]/ && is_new { print > file }
endef
export PINS

SERVICE ?= pypi
audit: ## look up the known vulnerabilities of every pinned package; SERVICE=osv asks OSV instead of PyPI
	@$(FIND_PYTHON); \
	set -e; $(MAKE_TOOLS); awk -v folder="$$tools" "$$PINS" requirements*.txt; status=0; \
	for pins in "$$tools"/pins*.txt; do \
		"$$tools/bin/pip-audit" --require-hashes --disable-pip --strict --progress-spinner off --desc off \
			--vulnerability-service $(SERVICE) --requirement "$$pins" > "$$tools/found" 2> "$$tools/said" && continue; \
		status=1; cat "$$tools/found"; \
		[ -s "$$tools/found" ] || echo "error: the packages could not be looked up: $$(tail -n 1 "$$tools/said")" >&2; \
	done; \
	[ $$status = 1 ] || echo "No known vulnerabilities in $$(cat "$$tools"/pins*.txt | grep -c ==) packages"; \
	exit $$status

# Adds the builtin model to what the requirements install, as a whole, and checks the result against CycloneDX's schema.
define ADD_BUILTIN_MODEL
import json, re, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
source = open("finetune/models/builtin.py").read()
sbom = json.load(sys.stdin)
sbom["components"].append({
    "type": "machine-learning-model",
    "bom-ref": "builtin-model",
    "name": re.search('^FILE = "(.*)"', source, re.M)[1],
    "hashes": [{"alg": "SHA-256", "content": re.search('^SHA256 = "(.*)"', source, re.M)[1]}],
    "licenses": [{"license": {"id": "Apache-2.0"}}],
})
everything = [component["bom-ref"] for component in sbom["components"]]
sbom["dependencies"] = [{"ref": sbom["metadata"]["component"]["bom-ref"], "dependsOn": everything}]
text = json.dumps(sbom, indent=2, sort_keys=True) + "\n"
if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
    sys.exit(f"error: not CycloneDX: {problem}")
open("sbom.json", "w").write(text)
endef
export ADD_BUILTIN_MODEL

sbom: ## write sbom.json, in CycloneDX: all pinned packages with their hashes, and the builtin model
	@$(FIND_PYTHON); \
	set -e; $(MAKE_TOOLS); \
	cat requirements.txt requirements-torch.txt requirements-torch-pypi.txt requirements-builtin-model.txt > "$$tools/all.txt"; \
	"$$tools/bin/python" -W ignore -m cyclonedx_py requirements "$$tools/all.txt" --pyproject pyproject.toml --mc-type application \
		--output-reproducible --sv 1.6 --of JSON -o "$$tools/sbom.json"; \
	"$$tools/bin/python" -c "$$ADD_BUILTIN_MODEL" < "$$tools/sbom.json"

clean: ## remove the scripts' output folders: data, checkpoints, results, demo
	rm -rf data checkpoints results demo

distclean: clean ## remove .venv and the caches as well
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
