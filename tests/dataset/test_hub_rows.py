"""Datasets of the Hub, by the real client from a Hub on loopback. In a process of its own: it reads HF_ENDPOINT once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loopback_hub import LoopbackHub

pytestmark = pytest.mark.scripts

ROOT = Path(__file__).parents[2]
PREPARE = """
import json, sys
from pathlib import Path
from finetune.dataset.prepare import prepare
from finetune.errors import UserError
from finetune.settings.config import DatasetConfig
from finetune.tasks import TASKS
for asked in json.loads(sys.argv[1]):
    settings = {"type_": "chat", **asked}
    try:
        dataset = prepare(DatasetConfig(**settings), TASKS[settings["type_"]], lambda line: print(line, file=sys.stderr))
        rows = {split: sorted(row["messages"][0]["content"] for row in rows) for split, rows in dataset.splits.items()}
        left = [dataset.source.not_read] if dataset.source.not_read else []
        print(json.dumps([rows, dataset.source.only or dataset.source.subset, *left]))
    except UserError as error:
        print(json.dumps("\\n".join([str(error), *error.details])))
"""
CARD = """---
dataset_info:
- config_name: main
  splits: [{name: train, num_examples: 6}, {name: test, num_examples: 6}]
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train-*}
  - {split: test, path: socratic/test-*}
---
"""


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """owner/two with two configurations, owner/default with a default one, owner/plain without any, owner/tests."""
    root = tmp_path / "hub" / "datasets" / "owner"
    for name in ("two/main/train-0", "two/main/test-0", "two/socratic/train-0", "two/socratic/test-0", "two/huge-0"):
        write(root / f"{name}.jsonl", name)
    (root / "two" / "README.md").write_text(CARD)
    for part in ("en", "de"):
        write(root / "default" / part / "rows.jsonl", part)
    (root / "default" / "README.md").write_text(
        "---\nconfigs:\n- {config_name: de, data_dir: de}\n- {config_name: en, data_dir: en, default: true}\n---\n"
    )
    for name in ("data/train-00000-of-00001", "data/test-00000-of-00001"):
        write(root / "plain" / f"{name}.jsonl", name)
    (root / "plain" / "photo.bin").write_bytes(b"x" * 1000)
    write(root / "tests" / "test.jsonl", "test")
    (root / "semicolons").mkdir()
    (root / "semicolons" / "rows.csv").write_text("prompt;completion\n" + "".join(f"q{i};c\n" for i in range(6)))
    (root / "semicolons" / "README.md").write_text(
        "---\nconfigs:\n- {config_name: all, data_files: rows.csv, sep: ';', cache_dir: /nowhere}\n---\n"
    )
    write(root / "broken" / "train.jsonl", "train")
    (root / "broken" / "README.md").write_text("---\nconfigs: [\n---\n")
    return tmp_path / "hub"


def write(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": f"{name} {i}", "completion": "c"}) + "\n" for i in range(6)))


def prepared(tmp_path: Path, name: str | None, endpoint: str, offline: str = "0", **settings: object) -> Any:
    return prepared_each(tmp_path, name, endpoint, settings, offline=offline)[0]


def prepared_each(
    tmp_path: Path, name: str | None, endpoint: str, *settings: dict[str, object], offline: str = "0", notes: int = 0
) -> list[Any]:
    """What becomes of the rows with each of the settings, in one process: it takes a second to start. At the end so many
    ``notes``."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, json.dumps([{"dataset_name": name, **one} for one in settings])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("Note: ")]
    return [*map(json.loads, done.stdout.splitlines()), *said[:notes]]


def fetched(tmp_path: Path) -> set[str]:
    """The files of the dataset in the cache of the client."""
    (snapshot,) = (tmp_path / "home" / "hub").glob("datasets--*/snapshots/*")
    return {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}


def test_a_configuration_must_be_chosen_and_only_its_split_is_fetched(repositories: Path, tmp_path: Path) -> None:
    with LoopbackHub(repositories) as hub:
        many, typo = prepared_each(tmp_path, "owner/two", hub.url, {}, {"subset": "socratc"})
        assert many == "owner/two: it has several configurations (with --subset, choose from main, socratic)"
        assert typo == (
            "--subset: owner/two has no configuration 'socratc' (did you mean socratic? choose from main, socratic)"
        )
        assert fetched(tmp_path) == {"README.md"}
        rows, subset = prepared(tmp_path, "owner/two", hub.url, subset="socratic")
        assert subset == "socratic"
        assert {row[:18] for part in rows.values() for row in part} == {"two/socratic/train"}
        assert fetched(tmp_path) == {"README.md", "socratic/train-0.jsonl"}
        rows, _ = prepared(tmp_path, "owner/two", hub.url, subset="main", keep_splits=True)
        assert {row[:13] for row in rows["test"]} == {"two/main/test"}
        assert fetched(tmp_path) == {"README.md", "socratic/train-0.jsonl", "main/train-0.jsonl", "main/test-0.jsonl"}
    # the copy in the cache serves without the Hub, as far as it goes
    wanted = {"subset": "socratic"}
    whole, lacking = prepared_each(tmp_path, "owner/two", hub.url, wanted, {**wanted, "keep_splits": True}, offline="1")
    assert whole[1] == "socratic"
    assert "HF_HUB_OFFLINE is set" in lacking and lacking.endswith("its cached copy lacks socratic/test-0.jsonl")


def test_default_rows_of_which_the_cache_has_the_card_alone_fall_back(repositories: Path, tmp_path: Path) -> None:
    folder = repositories / "datasets" / "yahma" / "alpaca-cleaned"
    write(folder / "train.jsonl", "train")
    (folder / "README.md").write_text("# Rows")
    with LoopbackHub(repositories, cut=("train.jsonl",)) as hub:
        rows, _ = prepared(tmp_path, None, hub.url, type_="alpaca", sample_size=50)
        assert len(rows["train"]) == 46
    assert len(prepared(tmp_path, None, hub.url, offline="1", type_="alpaca", sample_size=50)[0]["train"]) == 46


def test_default_rows_in_the_cache_are_used_offline_although_other_files_were_never_fetched(
    repositories: Path, tmp_path: Path
) -> None:
    folder = repositories / "datasets" / "yahma" / "alpaca-cleaned"
    folder.mkdir(parents=True)
    rows = [json.dumps({"instruction": f"from the Hub {i}", "output": "c"}) + "\n" for i in range(30)]
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(rows))
    (folder / "README.md").write_text("# Rows")
    (folder / "LICENSE.txt").write_text("a text that is no row\n")
    with LoopbackHub(repositories) as hub:
        online = prepared(tmp_path, None, hub.url, type_="alpaca")
    assert online[0]["train"][0].startswith("from the Hub")
    wanted = {"type_": "alpaca"}
    offline, missing = prepared_each(tmp_path, None, hub.url, wanted, {**wanted, "revision": "v9"}, offline="1")
    assert offline == online
    assert isinstance(missing, str) and "builtin" not in missing  # what was asked for is not replaced by other rows


def test_part_of_a_split_in_the_cache_is_not_taken_for_the_whole(repositories: Path, tmp_path: Path) -> None:
    for shard in (0, 1):
        write(repositories / "datasets" / "owner" / "shards" / f"train-0000{shard}-of-00002.jsonl", f"shard {shard}")
    with LoopbackHub(repositories) as hub:
        assert len(prepared(tmp_path, "owner/shards", hub.url)[0]["train"]) == 10
    (lost,) = (tmp_path / "home" / "hub").glob("datasets--*/snapshots/*/train-00001*")
    lost.unlink()
    refused = prepared(tmp_path, "owner/shards", hub.url, offline="1")
    assert isinstance(refused, str) and refused.endswith("its cached copy lacks train-00001-of-00002.jsonl")


def test_a_default_configuration_needs_no_flag(repositories: Path, tmp_path: Path) -> None:
    with LoopbackHub(repositories) as hub:
        rows, subset = prepared(tmp_path, "owner/default", hub.url)
        assert subset == "en" and {row[:2] for part in rows.values() for row in part} == {"en"}
        assert fetched(tmp_path) == {"README.md", "en/rows.jsonl"}
        assert prepared(tmp_path, "owner/default", hub.url, subset="de")[1] == "de"
        rows, subset = prepared(tmp_path, "owner/semicolons", hub.url)
        assert subset == "all" and sum(map(len, rows.values())) == 6


def test_a_dataset_without_a_card_is_divided_by_the_names_of_its_files(repositories: Path, tmp_path: Path) -> None:
    with LoopbackHub(repositories) as hub:
        rows, subset = prepared(tmp_path, "owner/plain", hub.url)
        assert subset is None and sum(map(len, rows.values())) == 6
        assert fetched(tmp_path) == {"data/train-00000-of-00001.jsonl"}
        refused = prepared(tmp_path, "owner/plain", hub.url, subset="main")
        assert refused == "--subset: owner/plain has no configurations to choose from (omit the flag)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/tests", "owner/tests: no train split (--split: choose from test)"),
        ("owner/broken", "owner/broken: its card cannot be read"),
        ("owner/nothing", "owner/nothing: no such repository on the Hub"),
        ("nothing", "nothing: no such file, and on the Hub: "),
    ],
)
def test_a_dataset_that_cannot_be_had_is_told(repositories: Path, tmp_path: Path, name: str, words: str) -> None:
    with LoopbackHub(repositories) as hub:
        assert prepared(tmp_path, name, hub.url).startswith(words)


def test_splits_of_any_name_are_read_and_their_names_are_told_whole(repositories: Path, tmp_path: Path) -> None:
    folder = repositories / "datasets" / "owner" / "ultra"
    for name in ("train_sft", "test_sft", "train_gen"):
        write(folder / "data" / f"{name}-00000-of-00001.jsonl", name)
    with LoopbackHub(repositories) as hub:
        one, two, kept, sliced, typo, none = prepared_each(
            tmp_path,
            "owner/ultra",
            hub.url,
            {"split": "train_sft"},
            {"split": "train_sft, train_gen"},
            {"split": "train_sft,test_sft", "keep_splits": True, "valid_fraction": 0},
            {"split": "train_sft[:1000]"},
            {"split": "train_stf"},
            {},
        )
    assert {row[:9] for part in one[0].values() for row in part} == {"train_sft"}
    assert {row[:9] for part in two[0].values() for row in part} == {"train_sft", "train_gen"}
    assert {row[:8] for row in kept[0]["test"]} == {"test_sft"} and {row[:9] for row in kept[0]["train"]} == {
        "train_sft"
    }
    assert sliced.endswith("parts of a split cannot be named (--split train_sft --sample-size N)")
    assert "no split 'train_stf' (did you mean train_sft? choose from" in typo
    assert none.startswith("owner/ultra: no train split (--split: choose from ")
    assert {"train_sft", "test_sft", "train_gen"} <= set(none.rstrip(")").replace(",", "").split())


def test_what_is_not_read_of_a_dataset_is_told(repositories: Path, tmp_path: Path) -> None:
    folder = repositories / "datasets" / "owner" / "kinds"
    for name in ("train-0.jsonl", "train-1.jsonl", "test-0.jsonl", "validation_matched-0.jsonl"):
        write(folder / "data" / name, name)
    (folder / "data" / "train-2.csv").write_text("prompt,completion\nq,a\n")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n"
        + "".join(f"  - {{split: {name}, path: data/{name}-*}}\n" for name in ("train", "test", "validation_matched"))
        + "---\n"
    )
    with LoopbackHub(repositories) as hub:
        kept, strict, *notes = prepared_each(
            tmp_path, "owner/kinds", hub.url, {"keep_splits": True}, {"strict": True}, notes=2
        )
    assert kept[2] == ["data/train-2.csv"] and len(kept[0]["test"]) == 6
    assert notes == [
        "Note: owner/kinds: 1 file not read: data/train-2.csv",
        "Note: owner/kinds: splits not read: validation_matched (--split)",
    ]
    assert strict.endswith("1 file not read: data/train-2.csv (download the dataset, and name its files)")


@pytest.mark.faults
def test_the_names_of_many_configurations_are_all_told(repositories: Path, tmp_path: Path) -> None:
    folder = repositories / "datasets" / "owner" / "languages"
    names = [f"language-{number:03}" for number in range(300)]
    write(folder / "a" / "train.jsonl", "a")
    configs = "".join(f"- {{config_name: {name}, data_dir: a}}\n" for name in names)
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with LoopbackHub(repositories) as hub:
        told, one = prepared_each(tmp_path, "owner/languages", hub.url, {}, {"subset": "language-007"})
    head, *lines = told.splitlines()
    assert head.endswith("with --subset, choose from these 300)") and max(map(len, lines)) <= 100
    assert " ".join(lines).split(", ") == names
    assert len(one[0]["train"]) == 4


@pytest.mark.faults
def test_only_some_of_many_files_are_fetched_for_a_sample_and_the_seed_chooses(
    repositories: Path, tmp_path: Path
) -> None:
    folder = repositories / "datasets" / "owner" / "shards"
    for shard in range(20):
        write(folder / "data" / f"train-{shard:05}-of-00020.jsonl", f"shard {shard:02}")
    with LoopbackHub(repositories) as hub:
        rows, only = prepared(tmp_path, "owner/shards", hub.url, sample_size=6)
        assert sum(map(len, rows.values())) == 6 and len(only) == 4 and fetched(tmp_path) == set(only)  # 4 x 6 rows
    again, more = prepared_each(tmp_path, "owner/shards", hub.url, {"sample_size": 6}, {"sample_size": 20}, offline="1")
    assert again == [rows, only]
    assert "its cached copy lacks data/train-" in more
    with LoopbackHub(repositories) as hub:
        other, every = prepared_each(
            tmp_path, "owner/shards", hub.url, {"sample_size": 6, "seed": 7}, {"sample_size": 1000}
        )
    assert other[1] != only and sum(map(len, every[0].values())) == 120


def test_texts_of_the_hub_that_look_like_dates_or_missing_values_stay_texts(repositories: Path, tmp_path: Path) -> None:
    """What pandas and pyarrow would guess."""
    texts = ["2024-01-02", "2024-01-02 03:04:05", "007", "NA", "null", "1e5"]
    for name in ("csv", "jsonl"):
        (repositories / "datasets" / "owner" / name).mkdir()
    table = "prompt,completion\n" + "".join(f"{text},c\n" for text in texts)
    (repositories / "datasets" / "owner" / "csv" / "train.csv").write_text(table)
    lines = [json.dumps({"prompt": text, "completion": "c", "call": [text, {text: 1}]}) + "\n" for text in texts]
    (repositories / "datasets" / "owner" / "jsonl" / "train.jsonl").write_text("".join(lines))
    whole: dict[str, object] = {"valid_fraction": 0, "test_fraction": 0}
    with LoopbackHub(repositories) as hub:
        for rows, _ in prepared_each(
            tmp_path, None, hub.url, *({**whole, "dataset_name": f"owner/{name}"} for name in ("csv", "jsonl"))
        ):
            assert rows["train"] == sorted(texts)
