"""The four scripts as a person runs them: real processes, a small model, real rows, real signals."""

import json
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.evaluation import tuned_run
from loopback_hub import GOOD_TOKEN, LoopbackHub
from scripts import OFFLINE, command, refused, run, start, wait_until

pytestmark = pytest.mark.scripts


@pytest.fixture(scope="module")
def road(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which rows were made and the small model was trained on them."""
    folder = tmp_path_factory.mktemp("road")
    run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", 60)
    options = "--iters 6 --batch-size 2 --steps-per-eval 3 --steps-per-report 2"
    run(folder, "train.py", "--model", tiny_model, *options.split())
    return folder


def test_train_leaves_adapters_and_their_record(road: Path) -> None:
    files = {path.name for path in (road / "checkpoints").iterdir()}
    wanted = {
        "adapters.safetensors",
        "adapter_config.json",
        "run.json",
        "training_config.txt",
        "metrics.jsonl",
    }
    wanted |= {"0000003_adapters.safetensors", "0000006_adapters.safetensors", "loss.png", "state"}
    assert files == wanted
    record = json.loads((road / "checkpoints" / "run.json").read_text())
    assert record["config"]["iters"] == 6 and record["origins"]["iters"] == "flag"
    assert record["result"]["steps"] == 6
    metrics = [json.loads(line) for line in (road / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics if "valid_loss" in row] == [3, 6]


@pytest.mark.parametrize(
    "name, locale",
    [
        pytest.param(b"caf\xe9", {}, marks=pytest.mark.faults),
        ("gré".encode(), {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    ],
    ids=["bytes", "locale"],
)
def test_folders_may_have_any_name(
    road: Path, tiny_model: Path, tmp_path: Path, name: bytes, locale: dict[str, str]
) -> None:
    folder = tmp_path / os.fsdecode(name)
    shutil.copytree(tiny_model, folder / "model")
    shutil.copytree(road / "data", folder / "data")
    options = ["--data-dir", folder / "data", "--iters", 1, "--batch-size", 1, "--steps-per-eval", 1]
    run(tmp_path, "train.py", "--model", folder / "model", "--adapter-path", folder / "first", *options, **locale)
    begun = ["--from-adapter", folder / "first", "--adapter-path", folder / "second"]
    run(tmp_path, "train.py", *begun, *options, **locale)
    results = ["--results-dir", folder / "results", "--num-samples", 1, "--max-tokens", 2, "--no-general"]
    run(tmp_path, "test_finetuned.py", "--adapter-path", folder / "second", *results, **locale)
    assert (folder / "second" / "adapters.safetensors").exists() and (folder / "results" / "evaluation.json").exists()


def test_mlx_lm_loads_what_train_wrote(road: Path, tiny_model: Path) -> None:
    from finetune.backends import load_backend

    load_backend("mlx")
    from mlx_lm import generate, load

    model, tokenizer = load(str(tiny_model), adapter_path=str(road / "checkpoints"))
    assert isinstance(generate(model, tokenizer, prompt="SELECT", max_tokens=4), str)


def test_evaluation_has_the_agreed_keys(road: Path) -> None:
    done = run(road, "test_finetuned.py", "--num-samples", 2, "--max-tokens", 8)
    record = json.loads((road / "results" / "evaluation.json").read_text())
    assert {"task", "n", "scored", "base", "tuned", "verdict", "rows"} <= record.keys()
    assert (record["task"], record["n"], len(record["rows"])) == ("sql", 2, 2)
    assert 0 <= record["base"]["accuracy"] <= 1
    assert "Verdict: no evidence" in done.stdout


def test_benchmark_writes_numbers_and_a_page(road: Path) -> None:
    done = run(road, "benchmark.py", "--compare", "--quick", "--num-samples", 5, "--max-tokens", 8)
    assert "has only 3 rows, not 5; all of them are used" in done.stderr
    record = json.loads((road / "results" / "benchmark.json").read_text())
    assert record["format"] == 3 and record["speed"].keys() == {"base", "tuned", "fused"}
    for side in record["speed"].values():
        assert all(0 < value["min"] <= value["median"] <= value["max"] for value in side.values())
    assert record["ratios"].keys() == {"tuned", "fused"} and record["latency_ms"].keys() == {"base", "tuned"}
    assert [at["tokens"] for at in record["lengths"]] == [128, 256]
    step = record["memory_mb"]["training step"]
    assert step["peak"] > record["memory_mb"]["load"]["active"] > 0
    assert step["estimate"] == pytest.approx(step["peak"], rel=0.35)  # a toy; near on real models: test_planning.py
    table = (road / "results" / "benchmark.csv").read_text().splitlines()
    assert table[0] == "part,side,measure,unit,median,min,max" and len(table) > 40
    page = (road / "results" / "report.html").read_text()
    assert "No evidence" in page and page.count("<script>") == 1  # ours


def test_benchmarks_are_kept_and_compared(road: Path) -> None:
    quick = ["--quick", "--num-samples", 2, "--max-tokens", 4, "--results-dir", "twice"]
    first = json.loads(run(road, "benchmark.py", *quick, "--json").stdout)
    (road / "twice" / "history" / "benchmark-0.json").write_text('{"format": 1}')
    shutil.copytree(road / "checkpoints", road / "copy")
    done = run(road, "benchmark.py", *quick, "--history", "--against", "copy")
    assert (
        first["created"][:16].replace("T", " ") in done.stdout
        and "not readable as benchmarks: benchmark-0.json" in done.stdout
    )
    assert "2 and 2 repeats are too few" in done.stdout
    assert "no evidence that checkpoints differs from copy" in done.stdout
    assert "Since last time" in (road / "twice" / "report.html").read_text()
    kept = json.loads(next((road / "twice" / "history").glob("benchmark-2*.json")).read_text())
    assert kept == first
    assert "cannot be used together" in refused(road, "benchmark.py", "--compare", "--against", "checkpoints")
    assert "is --adapter-path itself" in refused(road, "benchmark.py", "--against", "./checkpoints")


def test_a_benchmark_that_is_stopped_keeps_its_answers(road: Path) -> None:
    options = ["--num-samples", "2", "--max-tokens", "4", "--results-dir", "stopped"]
    with start(road, "benchmark.py", *options, "--runs", "1000") as process:
        log = road / "stopped" / "benchmark_answers.jsonl"
        wait_until(process, lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
        time.sleep(2)  # now it measures speed
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "all answers are kept in" in said and "Traceback" not in said
    run(road, "benchmark.py", *options, "--quick", "--resume")
    assert not log.exists() and (road / "stopped" / "report.html").exists()


def test_a_full_disk_takes_the_files_not_the_numbers(road: Path) -> None:
    options = ["--quick", "--num-samples", "2", "--max-tokens", "4", "--results-dir", "full"]
    limited = f"ulimit -f 20; exec {shlex.join(command('benchmark.py', *options))}"
    done = subprocess.run(["bash", "-c", limited], cwd=road, env=os.environ | OFFLINE, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].endswith("(the answers are kept: resume with --resume)")
    assert "decode, tokens/s" in done.stdout and "Report:" not in done.stdout


def test_a_signal_ends_training_after_saving(road: Path, tiny_model: Path) -> None:
    process = start(road, "train.py", "--model", tiny_model, "--adapter-path", "stopped")
    wait_until(process, (road / "stopped" / "metrics.jsonl").exists)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 143 and "Traceback" not in stderr
    assert (road / "stopped" / "adapters.safetensors").exists()
    assert json.loads((road / "stopped" / "run.json").read_text())["result"]["steps"] >= 10


def test_a_closed_terminal_ends_training_after_saving(road: Path, tiny_model: Path) -> None:
    """As when a window is closed, or a connection breaks: SIGHUP, and nothing can be shown any more."""
    arguments = ["--model", str(tiny_model), "--adapter-path", "hung_up", "--steps-per-report", "1"]
    child, screen = pty.fork()
    if child == 0:
        os.chdir(road)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # below nohup it is ignored, and a run keeps to that
        os.execve(sys.executable, command("train.py", *arguments), os.environ | OFFLINE | {"TERM": "xterm"})
    metrics, end = road / "hung_up" / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists():  # what nobody reads would fill the terminal's buffer
        assert time.monotonic() < end
        if select.select([screen], [], [], 0.02)[0]:
            os.read(screen, 4096)
    os.close(screen)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    steps = json.loads((road / "hung_up" / "run.json").read_text())["result"]["steps"]
    assert steps >= 1 and list((road / "hung_up" / "state").glob(f"{steps:07d}-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_evaluation_is_gone_on_with(road: Path, number: signal.Signals) -> None:
    whole = ["--max-tokens", "8", "--results-dir", "whole"]
    if not (road / "whole").exists():
        run(road, "test_finetuned.py", *whole)
    folder = f"cut{number}"
    process = start(road, "test_finetuned.py", "--max-tokens", 8, "--results-dir", folder)
    log = road / folder / "answers.jsonl"
    wait_until(process, lambda: log.exists() and len(log.read_text().splitlines()) >= 6)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == (143 if number == signal.SIGTERM else -9) and "Traceback" not in stderr
    assert (number == signal.SIGKILL or "--resume" in stderr) and not (road / folder / "evaluation.json").exists()
    run(road, "test_finetuned.py", "--max-tokens", 8, "--results-dir", folder, "--resume")
    records = [json.loads((road / name / "evaluation.json").read_text()) for name in ("whole", folder)]
    for record in records:
        for row in [*record["rows"], *record["general"]["rows"]]:
            row["base"]["seconds"] = row["tuned"]["seconds"] = 0
    assert records[0] == records[1] and not log.exists()
    assert "nothing to resume" in refused(road, "test_finetuned.py", "--results-dir", folder, "--resume")


def changed_run(road: Path, folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the run with one of its records changed."""
    shutil.copytree(road / "checkpoints", folder / "checkpoints", dirs_exist_ok=True)
    path = folder / "checkpoints" / file
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"num_layers": 99},
        {"num_layers": 0},
        {"lora_parameters": {"rank": 16, "scale": float("nan"), "dropout": 0.0}},
        {"lora_parameters": {"rank": 10**11, "scale": 2.0, "dropout": 0.0}},
        {"lora_parameters": {"rank": 16, "scale": "big", "dropout": 0.0}},
    ],
)
def test_settings_that_are_not_those_of_the_training_are_refused(
    road: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    changed_run(road, tmp_path, "adapter_config.json", lambda record: record.update(change))
    refused(tmp_path, "test_finetuned.py", "--data-dir", road / "data", code=3)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "a string"},
        {"model": {"path": None, "name": "m", "weights": ""}},
        {"task": ["sql"]},
        {"config": {}},
        {"config": {"backend": "abacus"}},
        {"data": None},
        {"format": 99},
    ],
)
def test_a_record_that_no_training_wrote_is_refused(road: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    path = changed_run(road, tmp_path, "run.json", lambda record: record.update(change))
    assert refused(tmp_path, "test_finetuned.py").startswith(f"error: {path.relative_to(tmp_path)}: ")


def test_closed_streams_are_no_trap(road: Path) -> None:
    options = "--num-samples 1 --max-tokens 2 --no-general --results-dir closed"
    script = f"exec {shlex.join(command('test_finetuned.py', *options.split()))}"
    for closed in ("<&-", "<&- >&-", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{script} {closed}"],
            cwd=road,
            env=os.environ | OFFLINE,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr


def test_a_look_at_a_run_whose_rows_are_gone(road: Path, tmp_path: Path) -> None:
    shutil.copytree(road / "checkpoints", tmp_path / "checkpoints")
    record = json.loads((tmp_path / "checkpoints" / "run.json").read_text())
    record["data"]["folder"] = str(tmp_path / "gone")
    (tmp_path / "checkpoints" / "run.json").write_text(json.dumps(record))
    done = run(tmp_path, "test_finetuned.py", "--quick-test", "--max-tokens", 4)
    assert "builtin rows" in done.stderr and "Verdict" in done.stdout
    assert "not found" in refused(tmp_path, "test_finetuned.py")


def test_a_signal_before_the_first_step_leaves_nothing_behind(road: Path, tiny_model: Path) -> None:
    process = start(road, "train.py", "--model", tiny_model, "--adapter-path", "early")
    assert process.stderr
    while "Model " not in process.stderr.readline():  # said before the weights are loaded
        pass
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and stderr.endswith("stopped\n"), stderr
    assert not (road / "early").exists()


@pytest.mark.parametrize("script", [*(f"{name}.py" for name in ("dataset", "train", "test_finetuned", "benchmark"))])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_script_that_is_still_imported(tmp_path: Path, script: str, number: signal.Signals) -> None:
    (tmp_path / "argparse.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    process = start(tmp_path, script, PYTHONPATH=str(tmp_path))
    assert process.stdout and process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.communicate(timeout=10) == ("", "") and process.returncode == 128 + number


def test_a_signal_ends_a_run_whose_reward_hangs_after_saving(road: Path, tiny_model: Path) -> None:
    (road / "hangs.py").write_text(
        "from pathlib import Path\ndef reward(row, answer):\n    if Path('hanging/metrics.jsonl').exists():\n"
        "        Path('hangs').touch()\n        while True: pass\n    return len(set(answer))"
    )
    options = "--method grpo --grpo-reward hangs.py --grpo-reward-seconds 500 --grpo-max-tokens 4 --steps-per-report 1"
    process = start(road, "train.py", "--model", tiny_model, "--adapter-path", "hanging", *options.split())
    wait_until(process, (road / "hangs").exists)
    stopped = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 143 and "To resume: " in stderr and "Traceback" not in stderr
    assert time.monotonic() - stopped < 5  # a second, on a machine with nothing else to do
    steps = json.loads((road / "hanging" / "run.json").read_text())["result"]["steps"]
    assert list((road / "hanging" / "state").glob(f"{steps:07d}-*"))


def test_the_template_of_the_training_is_that_of_the_evaluation(road: Path, tiny_model: Path) -> None:
    run(road, "train.py", "--model", tiny_model, "--adapter-path", "alpaca", "--iters", 2, "--template", "alpaca")
    assert "### Response" in json.loads((road / "alpaca" / "run.json").read_text())["template"]
    run(road, "test_finetuned.py", "--adapter-path", "alpaca", "--num-samples", 2)
    rejected = run(road, "train.py", "--adapter-path", "alpaca", "--resume", "--template", "gemma", code=3)
    assert "--template was alpaca, is now gemma" in rejected.stderr
    assert "did you mean gemma" in run(road, "train.py", "--template", "gema", code=2).stderr


def test_adapters_that_do_not_fit_are_refused(road: Path, tiny_gemma: Path, tmp_path: Path) -> None:
    from finetune.backends import load_backend

    load_backend("mlx")
    import mlx.core as mx

    arrays = mx.load(str(road / "checkpoints" / "adapters.safetensors"))
    first = min(arrays)
    broken = {
        "not finite": arrays | {first: arrays[first] * float("nan")},
        "does not fit": arrays | {first: mx.zeros((3, 3))},
        "is missing": {name: array for name, array in arrays.items() if name != first},
        "is not in the model": arrays | {"unrelated": mx.zeros((3, 3))},
    }
    shutil.copytree(road / "checkpoints", tmp_path / "a")
    for why, content in broken.items():
        mx.save_safetensors(str(tmp_path / "a" / "adapters.safetensors"), content)
        with pytest.raises(UserError, match=why) as error:
            tuned_run.open_run(tmp_path / "a").load()
        assert error.value.exit_code == 3
    for script in ("test_finetuned.py", "benchmark.py"):
        assert why in refused(road, script, "--adapter-path", tmp_path / "a", code=3)
    good = bytearray((road / "checkpoints" / "adapters.safetensors").read_bytes())
    good[-5] ^= 4  # a flipped bit
    (tmp_path / "a" / "adapters.safetensors").write_bytes(good)
    assert "damaged" in refused(road, "test_finetuned.py", "--adapter-path", tmp_path / "a", code=3)
    record = json.loads((road / "checkpoints" / "run.json").read_text())
    other = tmp_path / "other"  # a base of the same shape with other weights
    shutil.copytree(record["model"]["path"], other)
    weights = mx.load(str(other / "model.safetensors"))
    mx.save_safetensors(str(other / "model.safetensors"), {name: array * 1.01 for name, array in weights.items()})
    shutil.copy(road / "checkpoints" / "adapters.safetensors", tmp_path / "a")
    record["model"]["path"] = str(other)
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    assert "another model" in refused(road, "test_finetuned.py", "--adapter-path", tmp_path / "a", code=3)


def test_bad_input_is_one_line_and_writes_nothing(road: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert "--iters" in refused(tmp_path, "train.py", "--iters", "0")
    assert "--quick-test" in refused(tmp_path, "train.py", "--quick-test", "--conservative")
    assert "python dataset.py" in refused(tmp_path, "train.py")
    assert "python train.py" in refused(tmp_path, "test_finetuned.py")
    assert "no such file" in refused(tmp_path, "dataset.py", "--dataset-name", "missing.jsonl")
    assert "--type chat" in refused(tmp_path, "dataset.py", "--type", "chat")
    assert list(tmp_path.iterdir()) == []
    for rate in ("nan", "inf", "0", "-1e-4"):
        assert "--learning-rate" in refused(tmp_path, "train.py", f"--learning-rate={rate}")
    assert "--lora-rank" in refused(tmp_path, "train.py", "--lora-rank", "0")
    assert "--lora-layers: the model has 2" in refused(
        road, "train.py", "--model", tiny_model, "--lora-layers", 3, "--adapter-path", tmp_path / "c"
    )
    assert "pip install trackio" in refused(
        road, "train.py", "--model", tiny_model, "--report-to", "trackio", "--adapter-path", tmp_path / "c"
    )
    assert "python train.py" in refused(road, "train.py", "--resume", "--adapter-path", tmp_path / "c")
    assert "q_proj" in refused(
        road, "train.py", "--model", tiny_model, "--lora-modules", "query", "--adapter-path", tmp_path / "c"
    )
    assert "--dataset-type" in refused(road, "train.py", "--dataset-type", "chat")
    assert "google/gemma-3-270m-it" in refused(
        road, "train.py", "--model", "google/gemma-3-270m-it", "--adapter-path", tmp_path / "a"
    )
    assert "--max-seq-length" in refused(
        road, "train.py", "--model", tiny_model, "--max-seq-length", 20, "--adapter-path", tmp_path / "b"
    )


def test_rows_that_were_changed_by_hand_are_refused(road: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(road / "data", tmp_path / "data")
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write('{"text": "added by hand"}\n')
    assert "train.jsonl: changed" in refused(tmp_path, "train.py", "--model", tiny_model)


def test_a_second_run_keeps_the_adapters_of_the_first(road: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ("--model", tiny_model, "--data-dir", road / "data", "--iters", 2, "--batch-size", 1)
    for seed in (1, 2):
        run(tmp_path, "train.py", *arguments, "--seed", seed)
    previous = json.loads((tmp_path / "checkpoints" / "previous" / "run.json").read_text())
    assert previous["config"]["seed"] == 1
    assert (tmp_path / "checkpoints" / "previous" / "adapters.safetensors").exists()
    # it could still be resumed if it had not finished; its record stays as it is
    before = (tmp_path / "checkpoints" / "previous" / "run.json").read_bytes()
    done = run(tmp_path, "train.py", "--resume", "--adapter-path", "checkpoints/previous")
    assert "This run had already finished, nothing was done: 2 steps in " in done.stderr
    assert "Done" not in done.stderr and "Resuming" not in done.stderr
    assert (tmp_path / "checkpoints" / "previous" / "run.json").read_bytes() == before


DEFAULT_ROWS = {
    "gretelai/synthetic_text_to_sql": {
        "sql_prompt": "Question {}?",
        "sql": "SELECT 1;",
        "sql_context": "CREATE TABLE t (a INT);",
    },
    "yahma/alpaca-cleaned": {"instruction": "Say {}.", "input": "", "output": "Yes."},
    "davidpirkl/riscv-instruction-specification": {"description": "Adds {}.", "instructions": "add rd, rs1, rs2"},
    "microsoft/orca-math-word-problems-200k": {"question": "What is {} + 1?", "answer": "More."},
}


def test_rows_come_from_the_hub(tmp_path: Path) -> None:
    for name, row in DEFAULT_ROWS.items():
        repository = tmp_path / "hub" / "datasets" / name
        repository.mkdir(parents=True)
        lines = [json.dumps(row).replace("{}", str(i)) + "\n" for i in range(12)]
        (repository / "train.jsonl").write_text("".join(lines[:9]))
        (repository / "test.jsonl").write_text("".join(lines[9:]))
    online = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
    names = dict(zip(("sql", "alpaca", "riscv", "chat"), DEFAULT_ROWS, strict=True))
    gated, cut = ("gretelai/synthetic_text_to_sql",), ("train.jsonl",)

    def prepare(kind: str, *more: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(tmp_path, "dataset.py", "--type", kind, *more, code=code, **(online | environment))

    with LoopbackHub(tmp_path / "hub", gated=gated) as hub:
        for kind, name in names.items():
            if kind == "sql":  # its gate is closed: as a default the builtin rows, by name an error
                assert "accept the licence" in prepare(kind, "--sample-size", "50", HF_ENDPOINT=hub.url).stderr
                assert "accept the licence" in prepare(kind, "--dataset-name", name, code=2, HF_ENDPOINT=hub.url).stderr
            given = ["--dataset-name", name] if kind == "chat" else []
            prepare(kind, *given, HF_ENDPOINT=hub.url, HF_TOKEN=GOOD_TOKEN)
            record = json.loads((tmp_path / "data" / "dataset.json").read_text())
            assert (record["source"]["source"], record["rows_read"]) == (name, 9) and record["source"]["revision"]
        prepare("alpaca", "--keep-splits", HF_ENDPOINT=hub.url)
        assert json.loads((tmp_path / "data" / "dataset.json").read_text())["rows"]["test"] == 3
        assert (
            "me/none: no such repository"
            in prepare("sql", "--dataset-name", "me/none", code=2, HF_ENDPOINT=hub.url).stderr
        )
    with LoopbackHub(tmp_path / "hub", cut=cut) as hub:
        empty = str(tmp_path / "empty")
        broken = prepare("alpaca", "--dataset-name", names["alpaca"], code=2, HF_ENDPOINT=hub.url, HF_HOME=empty)
        assert "the download failed" in broken.stderr
    prepare("riscv", "--dataset-name", names["riscv"], HF_HUB_OFFLINE="1")  # from the cache
    assert (
        "HF_HUB_OFFLINE"
        in prepare("riscv", "--dataset-name", names["riscv"], code=2, HF_HUB_OFFLINE="1", HF_HOME=empty).stderr
    )


GOOD_ROW = b'{"prompt": "p", "completion": "c"}\n'


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "it has no rows"),
        (GOOD_ROW + b"{broken\n", "rows.jsonl:2: not JSON"),
        (GOOD_ROW + b'{"prompt": "caf\xe9", "completion": "c"}\n', "rows.jsonl:2: not UTF-8"),
        (GOOD_ROW + b'{"prompt": "\x00", "completion": "c"}\n', "rows.jsonl:2: not JSON"),
        (b"[1, 2]\n", "rows.jsonl row 1: not a JSON object (and 1 more row: rows.jsonl row 2)"),
        (b"7\n", "rows.jsonl row 1: not a JSON object"),
        (GOOD_ROW * 20 + b'{"prompt": "p"}\n', "rows.jsonl:21: not a conversation (fields: prompt"),
        (b'{"messages": []}\n', "rows.jsonl:1: the list of messages is empty"),
        (b'{"prompt": "p", "completion": NaN}\n', "rows.jsonl:1: not JSON: NaN"),
        (b'{"prompt": "p", "completion": "\\ud800"}\n', "rows.jsonl:1: half of a surrogate pair"),
        (
            b'{"prompt": "' + b"x" * 50_000_000 + b'", "completion": "c"}\n',
            "its only row is not usable: 1 x longer than 200,000 characters",
        ),
        (None, "cannot be read"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_bad_rows_get_one_line_and_nothing_is_written(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is None:
        path.mkdir()
        words = "no rows in this folder"
    else:
        path.write_bytes(content)
    done = run(tmp_path, "dataset.py", "--type", "chat", "--dataset-name", "rows.jsonl", code=2)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
    assert len(errors) == 1 and words in errors[0]
    assert not (tmp_path / "data").exists()


def test_dry_run_says_where_each_value_comes_from(tmp_path: Path) -> None:
    lines = run(tmp_path, "train.py", "--conservative", "--seed", 1, "--dry-run").stdout.splitlines()
    origins = {line.split()[0]: (line.split()[1], line.split(maxsplit=2)[2]) for line in lines}
    assert origins["--seed"] == ("1", "flag")
    assert origins["--iters"] == ("800", "conservative mode")
    assert origins["--lora-rank"][1] == "default"
    assert origins["--quick-test"][0] == "no" and origins["--epochs"][0] == "-"
    assert "--dry-run" not in origins and "--config" not in origins
