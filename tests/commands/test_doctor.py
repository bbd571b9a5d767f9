"""python -m finetune doctor: as a process, with the real Hub client and a Hub on loopback; single checks on real folders."""

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.backends import logits
from finetune.backends.interface import DeviceMemory
from finetune.backends.memory_estimate import Sizes
from finetune.commands.doctor import capacity, hardware, pytorch, software, sources
from finetune.commands.doctor.command import CHECKS
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.models import builtin, conversion
from finetune.models.find import DEFAULT_MODEL
from finetune.records import mac, machine
from loopback_hub import EXPIRED_TOKEN, GOOD_TOKEN, LoopbackHub

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"


HUB_ACCESS = """
import json
from dataclasses import asdict
from finetune.commands.doctor import sources
list(sources.variables())
print(json.dumps([asdict(finding) for finding in sources.hub_access()]))
"""


WITHOUT_FITS = """
import runpy, sys
from finetune.commands.doctor import command
del command.CHECKS["fits"]
sys.argv = ["finetune", "doctor", *sys.argv[1:]]
runpy.run_module("finetune", run_name="__main__")
"""


@pytest.fixture
def doctor(run_python: Any) -> Any:
    """doctor(*flags, **environment): the process when it has ended."""
    return partial(run_python, "-m", "finetune", "doctor", code=None)


@pytest.fixture
def quick_doctor(run_python: Any) -> Any:
    """The same without the check that computes for twelve seconds."""
    return partial(run_python, "-c", WITHOUT_FITS, code=None)


def by_name(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_every_check_is_there_and_each_problem_has_a_remedy(doctor: Any) -> None:
    done = doctor("--json", HF_HUB_OFFLINE="1")
    found = by_name(done)
    assert found.keys() >= CHECKS.keys() - {"terminal", "variables"}
    assert all(bool(finding["remedy"]) == (finding["status"] != "ok") for finding in found.values())
    assert done.returncode == any(finding["status"] == "fail" for finding in found.values())
    assert found["hub"]["status"] == "warn" and "HF_HUB_OFFLINE" in found["hub"]["found"]
    assert "GFLOP/s" in found["mlx"]["found"] and found["memory"]["found"].endswith("free")
    assert found["backend"]["found"].startswith("--backend auto chooses ")
    fits = found["fits"]["details"]
    assert all(list(sizes) == list(capacity.LADDER) for sizes in fits["needed_gb"].values())
    for kind, largest in fits["largest"].items():  # as far up the ladder as there is room
        room = [size for size, gb in fits["needed_gb"][kind].items() if gb <= fits["memory_gb"]]
        assert largest == (room[-1] if room else None)


def test_a_token_is_never_printed_and_decides_on_the_default_model(
    tmp_path: Path, quick_doctor: Any, run_python: Any
) -> None:
    (tmp_path / "hub" / DEFAULT_MODEL).mkdir(parents=True)
    (tmp_path / "hub" / DEFAULT_MODEL / "config.json").write_text("{}")
    with LoopbackHub(tmp_path / "hub", gated=(DEFAULT_MODEL,)) as hub:
        said = {}
        for token in (GOOD_TOKEN, EXPIRED_TOKEN, "hf_s\u00e9cret", ""):
            command = quick_doctor if token == GOOD_TOKEN else partial(run_python, "-c", HUB_ACCESS)
            done = command("--json", HF_ENDPOINT=hub.url, HF_TOKEN=token)
            assert not token or token.removeprefix("hf_") not in done.stdout + done.stderr
            said[token] = by_name(done)
    assert all(found["hub"]["found"] == f"{hub.url} answers" for token, found in said.items() if token.isascii())
    assert (
        said[GOOD_TOKEN]["default model"]["status"] == "ok" and said[GOOD_TOKEN]["token"]["found"] == "HF_TOKEN is set"
    )
    assert "does not accept HF_TOKEN" in said[EXPIRED_TOKEN]["default model"]["found"]
    assert "characters that no token has" in said["hf_s\u00e9cret"]["default model"]["found"]
    closed = said[""]["default model"]
    assert closed["status"] == "warn" and f"{hub.url}/{DEFAULT_MODEL}" in closed["remedy"]
    assert said[""]["token"]["found"].startswith("none")


def test_a_hub_that_does_not_answer_is_a_warning_within_its_time(quick_doctor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        endpoint = f"http://somebody:secret@127.0.0.1:{silent.getsockname()[1]}"
        done = quick_doctor(HF_ENDPOINT=endpoint, COLUMNS="60")  # a wait without end would be ended by it, as a failure
    printed = done.stdout
    assert "secret" not in printed + done.stderr and "\033" not in printed
    assert done.returncode == 0 or "\nfail" in printed
    line = next(line for line in printed.splitlines() if " hub " in line)
    assert line.startswith("warn  hub ")
    assert "no answer in 5" in " ".join(printed.split())
    too_long = [line for line in printed.splitlines() if len(line) > 60]
    assert all(len(line.split()) == 1 for line in too_long), too_long  # a path, which is not broken


def test_a_broken_package_fails_without_a_traceback(tmp_path: Path, doctor: Any) -> None:
    (tmp_path / "broken" / "mlx").mkdir(parents=True)
    (tmp_path / "broken" / "mlx" / "__init__.py").write_text("raise ImportError('libmlx.so: not found')")
    (tmp_path / "broken" / "packaging.py").write_text("raise ImportError('gone')")
    done = doctor("--json", PYTHONPATH=str(tmp_path / "broken"), HF_HUB_OFFLINE="1")
    found = by_name(done)
    assert done.returncode == 1
    assert found["mlx"]["status"] == found["packages"]["status"] == "fail"
    assert "libmlx.so" in found["mlx"]["found"] and found["mlx"]["remedy"] == "make setup"
    assert found["memory"]["found"].endswith("free") and found["builtin model"]


@pytest.mark.parametrize("variable, name", [("HF_ENDPOINT=http://[", "variables"), ("FINETUNE_BLAS=/nothing", "mlx")])
def test_a_wrong_variable_is_named(doctor: Any, variable: str, name: str) -> None:
    key, _, value = variable.partition("=")
    done = doctor("--json", **{key: value})
    finding = by_name(done)[name]
    assert (done.returncode, finding["status"]) == (1, "fail") and key in finding["found"] and finding["remedy"]


@pytest.mark.parametrize(
    "line, status, words",
    [
        ("numpy=={numpy} \\", "ok", "all 1"),
        ("numpy==0.1 \\", "warn", "numpy {numpy} instead of 0.1"),
        ("no-such-package==1.0 \\", "fail", "no-such-package is missing"),
        ("no-such-package==1.0 ; sys_platform == 'plan9' \\", "ok", "all 0"),
    ],
)
def test_packages_are_compared_with_their_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, status: str, words: str
) -> None:
    from importlib.metadata import version

    installed = {"numpy": version("numpy")}
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"# by hand\n{line.format(**installed)}\n    --hash=sha256:00\n")
    monkeypatch.setattr(software, "REQUIREMENTS", requirements)
    [finding] = software.packages()
    assert finding.status == status and words.format(**installed) in finding.found

    requirements.unlink()
    [finding] = software.packages()
    assert finding.status == "warn" and "no requirements.txt" in finding.found


@pytest.mark.parametrize(
    "groups, files, wanted",
    [
        ("", {}, (8_000, 6_000)),
        (
            "0::/user/job",
            {"user/memory.max": "3072000", "user/memory.current": "1024000", "user/job/memory.max": "max"},
            (3_000, 2_000),
        ),
        (
            "4:cpu:/\n3:memory:/docker/1",  # the group's own name is not seen inside its container
            {
                "memory/memory.limit_in_bytes": "4096000",
                "memory/memory.usage_in_bytes": "4096000",
                "memory/memory.stat": "total_cache 9\ntotal_inactive_file 1024000",
            },
            (4_000, 1_000),
        ),
        (
            "3:memory:/",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
            (8_000, 6_000),
        ),
    ],
    ids=["none", "v2", "v1 in a container", "v1 without a limit"],
)
def test_memory_is_that_of_the_control_group_where_it_has_less(
    tmp_path: Path, groups: str, files: dict[str, str], wanted: tuple[int, int]
) -> None:
    texts = {"proc/meminfo": "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 6000 kB\nHugePages_Total: 0\n"}
    texts |= {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.memory_bytes(tmp_path) == (wanted[0] * 1024, wanted[1] * 1024)


def test_little_room_and_a_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "not" / "there"))
    for least, status in ((0, "ok"), (1e18, "warn")):
        monkeypatch.setattr(hardware, "_LITTLE_DISK", least)
        monkeypatch.setattr(hardware, "_NO_DISK", 0)
        [finding] = hardware.disk()
        assert finding.status == status and "this folder" in finding.found
    (tmp_path / "not").write_text("")
    [finding] = hardware.disk()
    assert finding.status == "fail" and finding.found.endswith("not writable: converted models")


def test_damaged_entries_of_the_caches_are_named_with_how_to_remove_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "mine-000000000000"
    folder.mkdir(parents=True)
    record = {"from": "mine", "sha256": "0" * 64, "version": conversion.VERSION, "files": {"config.json": 9}}
    (folder / conversion.RECORD).write_text(json.dumps(record))
    [finding] = sources.caches()
    assert finding.status == "warn" and "mine-000000000000: damaged" in finding.found
    assert "models --remove mine-000000000000" in finding.remedy


def test_the_builtin_model_is_missing_until_it_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "PACKAGE", "no_such_package")
    [finding] = sources.builtin_model()
    assert (finding.status, finding.remedy) == ("fail", "make setup")


def built(cuda: str | None = None, on_cuda: bool = False) -> pytorch.Build:
    return pytorch.Build("2.0", cuda, "CUDA (a GPU, 8.0 GB)" if on_cuda else "CPU", on_cuda, "float32")


@pytest.mark.parametrize(
    "build, sees_gpu, status, words, remedy",
    [
        (None, False, "ok", "not installed (optional); make setup-torch", ""),
        (built(), False, "ok", "PyTorch 2.0, CPU, float32", ""),
        (built("12.8", on_cuda=True), True, "ok", "CUDA (a GPU, 8.0 GB)", ""),
        (built("12.8"), False, "warn", "built for CUDA 12.8, but it finds no usable GPU", "make setup-torch TORCH=cpu"),
        (
            built("12.8"),
            True,
            "warn",
            "it finds no usable GPU",
            "update the NVIDIA driver, or make setup-torch TORCH=cpu",
        ),
        (built(), True, "warn", "this build cannot use", "make setup-torch TORCH=cuda"),
        (
            OSError("libc10.so: not found\nat all"),
            True,
            "warn",
            "cannot be imported: libc10.so: not found",
            "pip uninstall",
        ),
    ],
    ids=["none", "CPU", "GPU", "CUDA build, no GPU", "CUDA build, old driver", "CPU build, GPU", "broken"],
)
def test_the_build_of_pytorch_is_the_one_for_this_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: pytorch.Build | OSError | None,
    sees_gpu: bool,
    status: str,
    words: str,
    remedy: str,
) -> None:
    def look() -> pytorch.Build:
        if isinstance(build, OSError):
            raise build
        assert build
        return build

    monkeypatch.setattr(pytorch, "TORCH_REQUIREMENTS", tmp_path / "none.txt")
    monkeypatch.setattr(pytorch, "is_installed", lambda: build is not None)
    monkeypatch.setattr(pytorch, "look", look)
    monkeypatch.setattr(pytorch, "sees_gpu", lambda: sees_gpu)
    [finding] = pytorch.torch()
    assert (finding.status, remedy in finding.remedy) == (status, True) and words in finding.found
    assert bool(finding.remedy) == (status != "ok") and "\n" not in finding.found


def test_what_stands_on_pytorch_is_compared_with_its_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.13.0+cpu", "trl": "1.0"}
    monkeypatch.setattr(software, "version", installed.__getitem__)
    requirements = tmp_path / "requirements-torch.txt"
    requirements.write_text("# torch==2.13.0\n# by hand\ntrl==1.0 \\\n    --hash=sha256:00\n")
    assert software.compared(requirements) == software.Comparison(2, [], [])
    installed |= {"torch": "2.12.0+cu128", "trl": "1.1"}
    assert software.compared(requirements).said == "torch 2.12.0+cu128 instead of 2.13.0, trl 1.1 instead of 1.0"
    monkeypatch.setattr(pytorch, "TORCH_REQUIREMENTS", requirements)
    monkeypatch.setattr(pytorch, "is_installed", lambda: True)
    monkeypatch.setattr(pytorch, "look", built)
    monkeypatch.setattr(pytorch, "sees_gpu", lambda: False)
    [finding] = pytorch.torch()
    assert finding.status == "warn" and "trl 1.1 instead of 1.0" in finding.found
    assert finding.remedy.endswith("make setup-torch")


@pytest.fixture(scope="module")
def step_memory() -> capacity.StepMemory:
    from finetune.backends.mlx.memory_estimate import Probe

    return capacity.measured(Probe())


NARROW = capacity.Shape(192, 4, 6, 2, 32, 512, 32768, tied=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, shape",
    [
        ("LoRA", capacity.Shape(576, 4, 9, 3, 64, 1536, 49152, tied=True)),  # layers of the builtin model
        ("LoRA", capacity.Shape(384, 6, 3, 1, 128, 1024, 32000, tied=False)),
        ("4-bit LoRA", NARROW),  # a CPU takes long for quantised weights
        ("whole", NARROW),
    ],
)
def test_the_estimate_is_that_of_a_dry_run(step_memory: capacity.StepMemory, kind: str, shape: capacity.Shape) -> None:
    from finetune.backends import mlx

    how = capacity.KINDS[kind]
    guess = capacity.estimate(capacity.of_mlx(), step_memory, shape, how)
    rows = capacity._rows(capacity.ROWS, capacity.TOKENS)
    with shape.folder(how.bits) as folder:
        config = capacity._config(how.fine_tune_type)
        real = mlx.estimate_memory(folder, METHODS["sft"], config, rows, rows, 8e9)
    assert guess.static_mb == real.static_mb
    assert guess.peak_mb == pytest.approx(real.peak_mb, rel=0.15)


def test_a_machine_with_little_memory_and_a_backend_that_does_less(monkeypatch: pytest.MonkeyPatch) -> None:
    class Less:
        """Adapts, and does nothing else."""

        def sizes(self, folder: Path, config: Any) -> Sizes:
            if config.fine_tune_type == "full" or "quantization" in (folder / "config.json").read_text():
                raise UserError("not this")
            return Sizes(2, None, 1, 1, weights=10**9, adapters=0, optimizer=0, period=1)

    step = capacity.StepMemory(layer=[4e4, 2e4, 0, 0, 0], rest=[0.0] * 5, head=(1e8, 2e8), update=4)
    monkeypatch.setattr(capacity, "measured", lambda probe: step)
    roomy = capacity.Device("Less", Less(), "bfloat16", DeviceMemory(1e12, 1e12))  # type: ignore[arg-type]
    finding = capacity.finding("fits", roomy)
    assert finding.status == "ok" and finding.details["largest"] == {"whole": None, "LoRA": "32B", "4-bit LoRA": None}
    assert "not supported by Less" in finding.more[0] and "(or more)" in finding.more[1]
    assert finding.details["too_slow"] == []
    assert capacity.finding("fits", replace(roomy, slow_quantised=True)).details["too_slow"] == ["4-bit LoRA"]
    finding = capacity.finding("fits", replace(roomy, memory=DeviceMemory(1e9, 1e9)))
    assert (finding.status, finding.details["largest"]["LoRA"]) == ("warn", None)
    assert "--model builtin" in finding.remedy


def test_a_model_is_examined_by_itself(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.commands.doctor import model

    folder, copy = tmp_path / "new form", tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(logits, "find_spec", lambda name: None)
    found = list(model.examine(str(folder), None))
    assert [(each.name, each.status) for each in found] == [
        ("model", "ok"),
        ("config.json", "warn"),
        ("logits", "warn"),
    ]
    assert found[1].more == ("rope_theta 10000 instead of 100000.0",) and "--mlx-lm-copy FOLDER" in found[1].remedy
    assert "PyTorch is not installed" in found[2].found
    list(model.examine(str(folder), copy))  # what the remedy says
    again = list(model.examine(str(copy), None))
    assert [each.status for each in again[:2]] == ["ok", "ok"] and "as transformers does" in again[1].found
    monkeypatch.setattr(model, "compare", lambda folder: logits.Agreement(4.0))
    assert list(model.examine(str(folder), None))[-1].status == "fail"
    (folder / "config.json").write_text(json.dumps({**config, "model_file": "evil.py"}))
    (refused,) = model.examine(str(folder), None)
    assert (
        refused.status == "fail" and "never done" in refused.found and refused.remedy == "use a model of a known type"
    )


@pytest.mark.parametrize(
    ("difference", "verdict"), [(1e-5, "same"), (2e-3, "close"), (4.0, "different"), (None, "not compared")]
)
def test_the_verdict_on_logits(difference: float | None, verdict: str) -> None:
    assert logits.Agreement(difference, "no PyTorch").verdict == verdict


@pytest.mark.parametrize("limit, said", [(0, "for more: sudo sysctl iogpu"), (12000, "iogpu.wired_limit_mb=12000")])
def test_a_mac_says_what_metal_may_use(monkeypatch: pytest.MonkeyPatch, limit: int, said: str) -> None:
    from finetune.backends.mlx import memory

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine, "memory_bytes", lambda: (16 << 30, 9 * 10**9))
    monkeypatch.setattr(memory, "device_memory", lambda: DeviceMemory(11e9, 9e9, "Metal may use"))
    monkeypatch.setattr(mac, "wired_limit_mb", lambda: limit)
    [finding] = hardware.memory()
    assert finding.found.startswith(f"17.2 GB (16 GiB), 9.0 free; Metal may use 11.0 GB ({said}")


def test_a_mac_whose_sqlite_counts_no_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(software.python())) == 1 and not software._has_unlimited_sqlite()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(software, "_has_unlimited_sqlite", lambda: True)
    finding = list(software.python())[1]
    assert (finding.name, finding.status) == ("sqlite", "warn") and "no memory limit" in finding.found
    monkeypatch.setattr(sys, "__stdout__", SimpleNamespace(encoding="ascii"))
    assert "set LANG=en_US.UTF-8" in next(software.terminal()).remedy
