"""The real Hub client and a Hub on loopback. In a process of its own: the client reads HF_ENDPOINT once."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from damaged_hub import RawHub
from finetune.models import builtin, conversion
from finetune.models.find import DEFAULT_MODEL
from loopback_hub import EXPIRED_TOKEN, GOOD_TOKEN, LoopbackHub
from pickled_gpt2 import write_gpt2

ROOT = Path(__file__).parents[2]
PROBLEMS = """
import json, sys
from finetune.models import hub
hub.ANSWER_SECONDS = 1
print(json.dumps([hub.hub_problem(*question) for question in json.loads(sys.argv[1])]))
"""
FIND = """
import json, sys
from finetune.errors import UserError
from finetune.models.find import find_model
said = []
try:
    model = find_model(json.loads(sys.argv[1]), said.append)
    files = sorted(file.name for file in model.path.iterdir())
    print(json.dumps([model.name, model.source, model.revision, files, said]))
except UserError as error:
    print(json.dumps([str(error), error.exit_code, said]))
"""
FIND_WITHOUT_WEIGHTS = FIND.replace("said.append)", "said.append, weights=False)")
DOWNLOAD = """
import json, sys, threading, time
from finetune.errors import UserError
from finetune.models.hub import download_snapshot
pause, time.sleep = time.sleep, lambda seconds: None  # what the client waits before it tries again
said = {}
for name in json.loads(sys.argv[1]):
    try:
        download_snapshot(f"owner/{name}", "model")
        said[name] = "downloaded"
    except UserError as error:
        assert error.exit_code == 2
        said[name] = str(error).removeprefix(f"owner/{name}: ")
print(json.dumps(said))
"""
FIND_TWICE = FIND.replace("    model =", "    find_model(json.loads(sys.argv[1]), said.append)\n    model =")
WITHOUT_TORCH = "from finetune.models import pytorch_bin\npytorch_bin.find_spec = lambda name: None\n"


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """A root for the Hub: the default model, tiny, an unfinished model, and a dataset."""
    root = tmp_path / "hub"
    header = b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    files = {
        f"{DEFAULT_MODEL}/config.json": b'{"model_type": "gemma3_text"}',
        f"{DEFAULT_MODEL}/model.safetensors": len(header).to_bytes(8, "little") + header + b"\0\0",
        f"{DEFAULT_MODEL}/pytorch_model.bin": b"never fetched",
        f"{DEFAULT_MODEL}/tokenizer.json": b"{}",
        "owner/unfinished/config.json": b"{}",
        "datasets/owner/rows/train.jsonl": b'{"a": 1}\n',
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def run(tmp_path: Path, run_python: Any) -> Any:
    """run(script, argument, endpoint, **environment): what the script prints."""
    # A converted builtin model that takes no time, and no wheel, to make.
    folder = tmp_path / "cache" / "models" / f"{Path(builtin.FILE).stem}-{builtin.SHA256[:12]}"
    folder.mkdir(parents=True)
    record = {"from": builtin.FILE, "sha256": builtin.SHA256, "version": conversion.VERSION, "files": {}}
    (folder / conversion.RECORD).write_text(json.dumps(record))

    def run_script(script: str, argument: Any, endpoint: str, **environment: str) -> Any:
        done = run_python("-c", script, json.dumps(argument), HF_ENDPOINT=endpoint, **environment)
        return json.loads(done.stdout)

    return run_script


def test_a_repository_is_open_missing_or_gated(repositories: Path, run: Any) -> None:
    gated = DEFAULT_MODEL
    with LoopbackHub(repositories, gated=(gated,)) as hub:
        questions = [("owner/rows", "dataset"), ("owner/rows", "model"), (gated, "model"), ("a/b/c", "model")]
        is_open, missing, locked, no_name = run(PROBLEMS, questions, hub.url)
        assert is_open is None
        assert "no such repository" in missing
        assert locked == f"access to it needs a token: accept the licence at {hub.url}/{gated} and set HF_TOKEN in .env"
        assert "not the name of a Hub repository" in no_name

        assert run(PROBLEMS, [(gated, "model")], hub.url, HF_TOKEN=GOOD_TOKEN) == [None]
        assert run(PROBLEMS, [(gated, "model")], hub.url, HF_TOKEN="hf_of_somebody_else") == [locked]
        [expired] = run(PROBLEMS, [(gated, "model")], hub.url, HF_TOKEN=EXPIRED_TOKEN)
        assert expired == "the Hub does not accept HF_TOKEN: it is wrong or has expired"


def test_without_a_hub_the_answer_comes_soon(run: Any) -> None:
    question = [("owner/name", "model")]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # A wait that did not end would be ended by run, as a failure.
        assert run(PROBLEMS, question, endpoint) == ["the Hub cannot be reached: no answer in 1 seconds"]
        offline = "HF_HUB_OFFLINE is set and it is not in the cache"
        assert run(PROBLEMS, question, endpoint, HF_HUB_OFFLINE="1") == [offline]
    assert run(PROBLEMS, question, endpoint) == ["the Hub cannot be reached: Connection refused"]


def test_the_default_comes_from_the_hub_and_stays_in_its_cache(repositories: Path, run: Any) -> None:
    with LoopbackHub(repositories) as hub:
        found = run(FIND, None, hub.url)
    name, source, revision, files, said = found
    assert (name, source, len(revision), said) == (DEFAULT_MODEL, "hub", 40, [])
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    assert run(FIND, DEFAULT_MODEL, hub.url) == found  # nobody answers any more
    assert run(FIND, None, hub.url, HF_HUB_OFFLINE="1") == found


def test_only_the_weights_that_are_loaded_are_fetched(repositories: Path, run: Any) -> None:
    others = ["consolidated.safetensors", "adapter_model.safetensors", "model.fp16.safetensors", "tf_model.h5"]
    others += ["model.fp16-00001-of-00002.safetensors", "model-00001-of-00002.fp16.safetensors", "weights.gguf"]
    others += ["original/model.safetensors", "original/params.json", "onnx/model.onnx", "model_int8/model.safetensors"]
    for name in others:
        (repositories / DEFAULT_MODEL / name).parent.mkdir(exist_ok=True)
        (repositories / DEFAULT_MODEL / name).write_bytes(b"never fetched")
    with LoopbackHub(repositories) as hub:
        assert run(FIND, DEFAULT_MODEL, hub.url)[3] == ["config.json", "model.safetensors", "tokenizer.json"]


def test_weights_in_shards_are_fetched(repositories: Path, run: Any) -> None:
    folder = repositories / "owner/shards"
    folder.mkdir()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard in shards:
        shutil.copy(repositories / DEFAULT_MODEL / "model.safetensors", folder / shard)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(repositories / DEFAULT_MODEL / name, folder)
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with LoopbackHub(repositories) as hub:
        files = ["config.json", *shards, "model.safetensors.index.json", "tokenizer.json"]
        assert run(FIND, "owner/shards", hub.url)[3] == files


@pytest.mark.parametrize(
    "weights, reason",
    [
        ("consolidated.safetensors", "cannot load its weights, consolidated.safetensors"),
        ("original/model.safetensors", "cannot load its weights, original/model.safetensors"),
        ("tiny.Q8_0.gguf", "it holds GGUF files: download one of them"),
        ("adapter_model.safetensors", "it holds an adapter, not a model"),
        ("README.md", "it holds no weights"),
    ],
)
def test_a_repository_without_weights_to_load_is_refused_before_anything_large_is_fetched(
    repositories: Path, run: Any, tmp_path: Path, weights: str, reason: str
) -> None:
    path = repositories / "owner/other" / weights
    path.parent.mkdir(parents=True)
    path.write_bytes(b"never fetched")
    (repositories / "owner/other/config.json").write_text('{"model_type": "llama"}')
    (repositories / "owner/other/tokenizer.json").write_text("{}")
    with LoopbackHub(repositories) as hub:
        for script in (WITHOUT_TORCH + FIND, FIND_WITHOUT_WEIGHTS):
            message, exit_code, _ = run(script, "owner/other", hub.url)
            assert exit_code == 2 and message.startswith("owner/other: ") and reason in message
    fetched = tmp_path / "hf" / "hub" / "models--owner--other" / "snapshots"
    assert sorted(file.name for file in fetched.glob("*/*")) == ["config.json", "tokenizer.json"]


def test_a_plan_fetches_no_weights_and_does_not_pass_for_the_whole(repositories: Path, run: Any) -> None:
    small = ["config.json", "tokenizer.json"]
    with LoopbackHub(repositories) as hub:
        assert run(FIND_WITHOUT_WEIGHTS, None, hub.url)[3] == small
        offline = {"HF_HUB_OFFLINE": "1"}
        assert run(FIND_WITHOUT_WEIGHTS, DEFAULT_MODEL, hub.url, **offline)[3] == small
        message, exit_code, _ = run(FIND, DEFAULT_MODEL, hub.url, **offline)
        assert exit_code == 2 and "not in the cache" in message
        # without a name the plan is for the model that the run would take
        for script in (FIND, FIND_WITHOUT_WEIGHTS):
            name, _, _, _, [warning] = run(script, None, hub.url, **offline)
            assert name == "builtin" and "the default model is not available" in warning
        assert run(FIND, None, hub.url)[3] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert run(FIND_WITHOUT_WEIGHTS, None, hub.url)[0] == DEFAULT_MODEL  # nobody answers any more


def test_only_the_default_falls_back(repositories: Path, run: Any) -> None:
    with LoopbackHub(repositories, gated=(DEFAULT_MODEL,)) as hub:
        name, source, revision, _, said = run(FIND, None, hub.url)
        assert (name, source, revision) == ("builtin", "builtin", builtin.SHA256)
        [warning] = said
        assert "accept the licence" in warning and "builtin" in warning and DEFAULT_MODEL in warning

        message, exit_code, said = run(FIND, DEFAULT_MODEL, hub.url)
        assert (exit_code, said) == (2, [])
        assert message.startswith(f"{DEFAULT_MODEL}: access to it needs a token") and "--model builtin" in message
        message, exit_code, said = run(FIND, "owner/unfinished", hub.url)
        assert exit_code == 2 and "model.safetensors is missing" in message and "\n" not in message


def test_a_download_cut_short_is_an_error_and_leaves_nothing_usable(repositories: Path, run: Any) -> None:
    with LoopbackHub(repositories, cut=("model.safetensors",)) as hub:
        message, exit_code, _ = run(FIND, DEFAULT_MODEL, hub.url)
        assert exit_code == 2 and "the download failed" in message and "\n" not in message
    message, exit_code, _ = run(FIND, DEFAULT_MODEL, hub.url, HF_HUB_OFFLINE="1")
    assert exit_code == 2 and "not in the cache" in message
    with LoopbackHub(repositories) as hub:
        assert run(FIND, DEFAULT_MODEL, hub.url)[1] == "hub"


def test_a_repository_of_pickles_is_fetched_and_converted_once(repositories: Path, run: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_gpt2(repositories / "owner/pickled")
    (repositories / "owner/pickled" / "tokenizer.json").write_text("{}")
    (repositories / "owner/pickled" / "training_args.bin").write_bytes(b"never fetched")
    fetched = tmp_path / "hf" / "hub" / "models--owner--pickled" / "snapshots"
    small = ["config.json", "tokenizer.json"]
    with LoopbackHub(repositories) as hub:
        assert run(FIND_WITHOUT_WEIGHTS, "owner/pickled", hub.url)[3:] == [small, []]
        for script in (WITHOUT_TORCH + FIND, WITHOUT_TORCH + FIND_WITHOUT_WEIGHTS):
            message, exit_code, said = run(script, "owner/pickled", hub.url)
            assert (exit_code, said) == (2, [])
            assert "needs PyTorch (run: make setup-torch)" in message and "\n" not in message
        assert sorted(file.name for file in fetched.glob("*/*")) == small  # nothing large in vain
        name, source, commit, files, said = found = run(FIND_TWICE, "owner/pickled", hub.url)
    assert (name, source, said) == ("owner/pickled", "hub", ["Preparing owner/pickled (once) ..."])
    assert files == ["config.json", conversion.RECORD, "model.safetensors", "tokenizer.json"]
    assert sorted(file.name for file in fetched.glob("*/*")) == ["config.json", "pytorch_model.bin", "tokenizer.json"]

    shutil.rmtree(conversion.folder_of(tmp_path / "cache" / "models", name, commit))
    assert run(FIND, "owner/pickled", hub.url, HF_HUB_OFFLINE="1") == found


def reply(status: str, *headers: str, body: str = "") -> bytes:
    return "\r\n".join(
        [f"HTTP/1.1 {status}", *headers, "Connection: close", f"Content-Length: {len(body)}", "", body]
    ).encode()


PAGE = "Content-Type: text/html; charset=utf-8"
COMMIT = "0" * 40
NOT_THE_HUB = "what answered is not the Hub"
# by the name of the repository: "all-" answers so from the first request on, the others after access was granted
REPLIES: dict[str, tuple[bytes | list[bytes], str]] = {
    "all-page": (
        reply("200 OK", PAGE, body="<html>log in</html>"),
        f"{NOT_THE_HUB} (a page of HTML): log in to this network",
    ),
    "all-login": (
        reply("302 Found", "Location: http://127.0.0.1:9/login"),
        f"{NOT_THE_HUB} (a redirect to another page)",
    ),
    "all-circle": (
        reply("302 Found", "Location: /api/models/owner/all-circle/auth-check"),
        "the Hub's answers lead in a circle",
    ),
    "all-407": (reply("407 \x1b]0;x\x07"), "the proxy wants a user and a password: set HTTP_PROXY"),
    "all-429": (
        reply("429 Too Many Requests", "Retry-After: 7"),
        "the Hub answered 429 Too Many Requests: try again in 7 seconds",
    ),
    "all-451": (reply("451 No"), "the Hub answered 451 Unavailable For Legal Reasons"),
    "all-503": (reply("503 No"), "the Hub answered 503 Service Unavailable: try again later"),
    "all-403": (reply("403 No", PAGE, body="<html>"), "the Hub answered 403 Forbidden: a proxy or a firewall may have"),
    "all-401": (reply("401 No"), "the Hub answered 401 Unauthorized"),
    "all-garbage": (b"\x16\x03\x01\r\n\r\n", "the connection to the Hub was interrupted"),
    "page": (reply("200 OK", PAGE, body="<html>log in</html>"), NOT_THE_HUB),
    "empty": (reply("200 OK"), NOT_THE_HUB),
    "cut": (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"sha": ', "the connection to the Hub was interrupted"),
    "half": (reply("200 OK", body='{"sha": '), NOT_THE_HUB),
    "list": (reply("200 OK", body="[]"), NOT_THE_HUB),
    "null": (reply("200 OK", body="null"), NOT_THE_HUB),
    "deep": (reply("200 OK", body="[" * 100_000), NOT_THE_HUB),
    "no-commit": (reply("200 OK", body='{"id": "a/b"}'), NOT_THE_HUB),
    "outside": (reply("200 OK", body='{"id": "a/b", "sha": "../../../../evil"}'), NOT_THE_HUB),
    "dates": (reply("200 OK", body=f'{{"id": "a/b", "sha": "{COMMIT}", "lastModified": 5}}'), NOT_THE_HUB),
    "gzip": (reply("200 OK", "Content-Encoding: gzip", body="no gzip"), NOT_THE_HUB),
    "503": (reply("503 No"), "the Hub answered 503 Service Unavailable: try again later"),
    "day": (
        reply("429 No", "Retry-After: 86400"),
        "the Hub answered 429 Too Many Requests: try again in 86400 seconds",
    ),
    "slow": ([b"HTTP/1.1 200 OK\r\nX-A: ", *[b"x"] * 300], "the connection to the Hub is too slow"),
    "slow-body": (
        [reply("200 OK")[:15] + b"\r\nContent-Length: 999\r\n\r\n", *[b" "] * 300],
        "the connection to the Hub is too slow",
    ),
}


def test_an_answer_that_is_not_the_hubs_is_told_in_one_line(tmp_path: Path, run: Any) -> None:
    begin = time.monotonic()
    with RawHub({name: answer for name, (answer, _) in REPLIES.items()}) as hub:
        # a time-out that is longer than that of a slow answer: the true reason is not the time-out
        said = run(DOWNLOAD, list(REPLIES), hub.url, HF_HUB_DOWNLOAD_TIMEOUT="1")
    wrong = {name: line for name, line in said.items() if "\n" in line or not line.startswith(REPLIES[name][1])}
    assert not wrong
    assert time.monotonic() - begin < 25
    assert not list(tmp_path.rglob("evil*"))


def test_a_page_of_the_network_is_no_reason_to_fail_without_a_named_model(run: Any) -> None:
    with RawHub(dict.fromkeys((DEFAULT_MODEL.split("/")[1], ""), reply("200 OK", PAGE))) as hub:
        name, _, _, _, [warning] = run(FIND, None, hub.url)
    assert name == "builtin" and "not the Hub" in warning


@pytest.mark.parametrize(
    "variables, words",
    [
        (
            {"ALL_PROXY": "socks5://127.0.0.1:9"},
            "a SOCKS proxy needs the package socksio: pip install socksio, or unset ALL_PROXY",
        ),
        (
            {"HTTPS_PROXY": "://s3cret"},
            "HTTPS_PROXY is not the address of a proxy: set it to http://HOST:PORT, or unset it",
        ),
        ({"http_proxy": "http://u:s3cret@127.0.0.1:99999"}, "http_proxy is not the address of a proxy: set it to"),
        ({"HTTP_PROXY": "http://u:s3cret@127.0.0.1:9"}, "the Hub cannot be reached: Connection refused"),
        ({"SSL_CERT_FILE": "/nothing"}, "SSL_CERT_FILE or SSL_CERT_DIR cannot be read: No such file or directory"),
        ({"HF_ENDPOINT": "https://127.0.0.1:9"}, "the Hub cannot be reached: Connection refused"),
        ({"HF_ENDPOINT": "http://u:s3cret@127.0.0.1:9/hub"}, "the Hub cannot be reached: Connection refused"),
        ({"HF_ENDPOINT": "http://nothing.invalid"}, "the Hub cannot be reached: "),
        ({"HF_TOKEN_PATH": "/proc/self"}, "/proc/self cannot be read: Is a directory: remove it, or set HF_TOKEN"),
    ],
)
def test_why_the_hub_cannot_be_asked(run: Any, variables: dict[str, str], words: str) -> None:
    variables = dict(variables)
    endpoint = variables.pop("HF_ENDPOINT", "http://127.0.0.1:9")
    [clause] = run(PROBLEMS, [("owner/name", "model")], endpoint, **variables)
    assert clause.startswith(words) and "s3cret" not in clause and "seconds" not in clause


def test_neither_a_password_nor_a_token_is_printed(repositories: Path, run: Any, run_python: Any) -> None:
    token = "hf_" + "s3cret" * 6
    code = "import sys, time; time.sleep = lambda seconds: None\nfrom finetune.models.hub import download_snapshot\n"
    code += "try: download_snapshot(*sys.argv[1:])\nexcept Exception as error: print(error)"
    with LoopbackHub(repositories, gated=(DEFAULT_MODEL,), failing=("tree",)) as hub:
        for name, kind, words in ((DEFAULT_MODEL, "model", "needs a token"), ("owner/rows", "dataset", "answered 503")):
            done = run_python("-c", code, name, kind, HF_ENDPOINT=hub.url.replace("//", "//u:s3cret@"), HF_TOKEN=token)
            assert words in done.stdout and "127.0.0.1" in done.stdout + done.stderr
            assert "s3cret" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr


@pytest.mark.faults
def test_damaged_answers_are_errors_and_nothing_worse(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FINETUNE_CACHE": str(tmp_path)}
    command = [sys.executable, str(ROOT / "tests" / "damaged_hub.py"), "2000", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    counts, wrong = json.loads(done.stdout)
    assert not wrong
    assert sum(counts.values()) == 2000 and counts["works"] < 1000 and len(counts) > 12
