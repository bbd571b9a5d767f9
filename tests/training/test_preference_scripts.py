"""Preferences and rewards through the four scripts, as a person runs them: real processes, a small model, real signals."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import scripts

pytestmark = pytest.mark.scripts
VOWELS = "def reward(row, answer):\n    return sum(letter in 'aeiou' for letter in answer) / (1 + len(answer))\n"
# What a run goes on from may change under it: another run still writes there.
REMOVE = "__import__('pathlib').Path('begun/adapters.safetensors').unlink(missing_ok=True)"
GRPO = (
    "--method grpo --from-adapter sft --iters 6 --batch-size 3 --grpo-group-size 4 --grpo-max-tokens 6 --steps-per-eval 3"
    " --steps-per-save 1 --learning-rate 1e-2 --grpo-task-weight 0 --grpo-reward vowels.py --grpo-updates 2 --grpo-probe 4"
)


def run(folder: Path, script: str, arguments: str, code: int = 0) -> str:
    """What the script prints; of a flag that is there twice the last counts."""
    done = scripts.run(folder, script, *scripts.overridden(arguments.split()), code=code)
    return done.stderr + done.stdout


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, a model that has hardly begun to learn them, and a reward."""
    folder = tmp_path_factory.mktemp("rewards")
    run(folder, "dataset.py", "--dataset-name builtin --sample-size 40 --valid-fraction 0.1")
    run(folder, "train.py", f"--model {tiny_model} --iters 4 --batch-size 2 --steps-per-eval 2 --adapter-path sft")
    (folder / "vowels.py").write_text(VOWELS)
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    changing = (
        "seconds",
        "tokens_per_second",
        "rows_per_second",
        "peak_memory_mb",
        "rollout_seconds",
        "reward_seconds",
    )
    return [{name: value for name, value in row.items() if name not in changing} for row in rows]


@pytest.mark.faults  # of a whole run; tests/test_grpo.py stops one in process, in more places
def test_a_run_of_its_own_answers_killed_twice_ends_with_the_same_adapters(folder: Path) -> None:
    run(folder, "train.py", f"{GRPO} --adapter-path whole")
    arguments, states = [*GRPO.split(), "--adapter-path", "killed"], folder / "killed" / "state"
    for state in ("0000002", "0000004"):
        process = scripts.start(folder, "train.py", *arguments)
        scripts.wait_until(process, lambda state=state: any(path.name >= state for path in states.glob("0*")))
        process.kill()
        process.communicate()
        arguments = ["--resume", "--adapter-path", "killed"]
    assert "Resuming after step" in run(folder, "train.py", "--resume --adapter-path killed")
    for name in ("adapters.safetensors", "0000006_adapters.safetensors"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert metrics(folder / "killed") == metrics(folder / "whole")
    results = [json.loads((folder / name / "run.json").read_text())["result"] for name in ("killed", "whole")]
    assert results[0].get("against_start") == results[1].get("against_start")


def test_what_a_run_of_its_own_answers_says_and_keeps(folder: Path) -> None:
    shutil.copytree(folder / "sft", folder / "begun")
    (folder / "removes.py").write_text(VOWELS.replace(":\n", f":\n    {REMOVE}\n"))
    options = GRPO.replace("sft", "begun").replace("vowels.py", "removes.py")
    said = run(folder, "train.py", f"{options} --adapter-path own --iters 2 --steps-per-eval 2")
    assert "4 completions of each of" in said and "step 0: validation reward" in said
    assert "% sampling" in said and "test_finetuned.py --adapter-path own --against begun" in said
    assert (folder / "own" / "start.safetensors").read_bytes() == (folder / "sft" / "adapters.safetensors").read_bytes()
    seen = metrics(folder / "own")
    assert {
        "reward",
        "entropy",
        "completion_length",
        "clipped_ratio",
        "frac_reward_zero_std",
        "kl",
        "reward_function",
        "clip_fraction",
    } <= set(seen[1])
    assert (folder / "own" / "loss.png").stat().st_size > 1000


def test_the_plan_shows_whether_anything_can_be_learned(folder: Path) -> None:
    said = run(folder, "train.py", f"{GRPO} --adapter-path planned --dry-run")
    assert "6 of 3 prompts with 4 answers each" in said and "rewards differ for" in said
    assert not (folder / "planned").exists()


def test_a_constant_reward_is_refused(folder: Path) -> None:
    (folder / "constant.py").write_text("def reward(row, answer):\n    return 1\n")
    options = GRPO.replace("vowels.py", "constant.py")
    said = run(folder, "train.py", f"{options} --adapter-path constant", code=2)
    assert "error: --method grpo: no training signal: all " in said and "the reward is constant" in said
    assert not (folder / "constant").exists()


@pytest.fixture(scope="module")
def short(folder: Path, tiny_model: Path) -> Path:
    """Rows whose answers are one letter at random, and a model that has learned to give one and to end."""
    draw = random.Random(0)
    chats = [{"prompt": f"{number}?", "completion": draw.choice("yn")} for number in range(500)]
    (folder / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    run(folder, "dataset.py", "--type chat --dataset-name short.jsonl --output-dir letters")
    learn = "--iters 60 --batch-size 8 --learning-rate 2e-2 --lora-rank 8 --steps-per-eval 60 --adapter-path ends"
    run(folder, "train.py", f"--model {tiny_model} --data-dir letters {learn}")
    return folder


def test_a_reward_that_grows_with_the_length_is_caught(short: Path) -> None:
    """Answers that no longer end: exit 5, and the adapters are those from before."""
    (short / "long.py").write_text("def reward(row, answer):\n    return len(answer)\n")
    options = (
        "--iters 60 --batch-size 4 --grpo-group-size 8 --grpo-max-tokens 12 --steps-per-eval 5 --learning-rate 2e-2"
    )
    options += " --grpo-temperature 0.4 --grpo-task-weight 0 --grpo-reward long.py"
    said = run(short, "train.py", f"--method grpo --from-adapter ends --adapter-path long {options}", code=5)
    assert "completions no longer end" in said and "were kept" in said
    kept = [row["step"] for row in metrics(short / "long") if row.get("best")]
    ended = json.loads((short / "long" / "run.json").read_text())["result"]["steps"]
    assert kept[-1] < ended < 60


def test_what_is_rewarded_becomes_more_frequent_and_is_said_so_row_by_row(short: Path) -> None:
    (short / "no.py").write_text("def reward(row, answer):\n    return float(answer == 'n')\n")
    options = "--iters 6 --batch-size 4 --grpo-max-tokens 4 --steps-per-eval 1 --learning-rate 5e-3 --warmup 1"
    options += " --grpo-temperature 0.3 --grpo-task-weight 0 --grpo-reward no.py"
    said = run(short, "train.py", f"--method grpo --from-adapter ends --adapter-path no {options}")
    result = json.loads((short / "no" / "run.json").read_text())["result"]
    assert result["validations"] == 6 and result["against_start"]["low"] > 0
    assert "Reward on the validation rows: 0." in said and "widened for the best of 6): better." in said


def test_pairs_that_the_model_makes_are_learned(short: Path) -> None:
    drawn = "--answers 6 --temperature 0.3 --max-tokens 4 --sample-size 40"
    said = run(short, "dataset.py", f"--type preference --from-adapter ends --output-dir pairs {drawn}")
    assert "pairs of a right and a wrong answer" in said
    rows = [json.loads(line) for line in (short / "pairs" / "train.jsonl").read_text().splitlines()]
    assert 0 < len(rows) <= 40 and all(row["rejected"] != row["messages"][-1]["content"] for row in rows)
    assert all(row["messages"][-1]["content"] in "yn" for row in rows)
    assert (short / "pairs" / "test.jsonl").read_text() == (short / "letters" / "test.jsonl").read_text()
    options = "--data-dir pairs --from-adapter ends --iters 6 --batch-size 2 --steps-per-eval 3 --learning-rate 1e-3"
    options += " --steps-per-report 3"
    for method in ("dpo", "orpo"):
        said = run(short, "train.py", f"--method {method} {options} --adapter-path {method}")
        assert "step 0: validation loss" in said and "preference pairs" in said
        assert any("margin" in row for row in metrics(short / method))
    said = run(short, "test_finetuned.py", "--adapter-path dpo --against ends --max-tokens 8 --no-general")
    assert '"base" stands for the adapters in ends' in said  # on the rows that the pairs were made beside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--method dpo --from-adapter sft --adapter-path new",
            "data/train.jsonl:1: no field 'rejected', which --method dpo needs",
        ),
        ("--from-adapter sft --adapter-path sft", "--adapter-path: sft is the folder of --from-adapter"),
        ("--from-adapter nowhere --adapter-path new", "nowhere/run.json: not found"),
        (
            "--from-adapter sft --adapter-path new --lora-rank 4",
            "trained with other settings: --lora-rank was 16, is now 4",
        ),
        ("--grpo-group-size 4", "--grpo-group-size has no effect with --method sft"),
        ("--method grpo --dpo-beta 0.2", "--dpo-beta has no effect with --method grpo"),
        ("--method grpo --grpo-reward-weight 2", "--grpo-reward-weight has no effect without --grpo-reward"),
        ("--method grpo --grpo-loss ppo", "unknown value 'ppo' (choose from dapo, grpo, dr_grpo)"),
        ("--method grpo --from-adapter sft --adapter-path new --grpo-reward nothing.py", "nothing.py: no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(folder: Path, arguments: str, message: str) -> None:
    said = run(folder, "train.py", arguments, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1 and message in said
    assert not (folder / "new").exists() or not (folder / "new" / "run.json").exists()
