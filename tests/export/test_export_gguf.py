"""python -m finetune export --to gguf: what is written, and that a file which is not the run's is not kept."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from finetune.backends.mlx.runtime import mx  # noqa: F401  # isort: skip  before any other import of MLX
from finetune.backends.llamacpp import server
from finetune.commands import export
from finetune.errors import UserError
from finetune.export.fused import fused_model
from finetune.export.gguf import check, file, folder, keys, modelfile, tensors, trial, vocabulary
from finetune.export.source import Source, open_source
from finetune.export.trained import Trained
from finetune.models import gguf_file
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.gguf import convert
from finetune.models.gguf_layout import ARCHITECTURES
from finetune.models.templates import TEMPLATES
from finetune.records import files
from finetune.records.export import ExportRecord
from made_adapters import mlx_adapter
from tiny_gguf import write_gguf

LAYERS = {"smollm3": 4, "gemma3": 6}  # the last is another one there


def plain(path: Path) -> Source:
    """A model without adapters."""
    return Source(path, path, "tiny", ChatEncoder(path, chats=False), {}, of_peft=False)


def written(model: Path, path: Path, type_: str) -> Path:
    fused = fused_model(model, Trained(model))
    rows = next(one.shape[0] for one in fused.tensors if "embed_tokens" in one.name)
    about = keys.described(model, rows)
    found = {**about.keys, **vocabulary.vocabulary(plain(model), rows).keys}
    file.write(path, about.name, found, tensors.laid_out(fused.tensors, about), type_)
    assert 0 <= file.size(tensors.laid_out(fused.tensors, about), type_, found) - path.stat().st_size < 150_000
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_there_and_back_is_the_same(tmp_path: Path, architecture: str) -> None:
    """Each tensor and each key of the architecture, and of the tokenizer."""
    first = write_gguf(tmp_path / "first.gguf", architecture, layers=LAYERS.get(architecture, 2))
    (tmp_path / "model").mkdir()
    convert(first, tmp_path / "model")
    second = written(tmp_path / "model", tmp_path / "second.gguf", "f32")
    (metadata, ours), (again, theirs) = gguf_file.read(first), gguf_file.read(second)
    assert ours.keys() == theirs.keys()
    (tmp_path / "again").mkdir()
    convert(second, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "model/model.safetensors").read_bytes()
    before, after = (json.loads((tmp_path / place / "config.json").read_text()) for place in ("model", "again"))
    assert {"pad_token_id": None, **before} == {
        **after,
        "pad_token_id": before.get("pad_token_id"),
    }  # transformers adds it
    one, other = (Tokenizer.from_file(str(tmp_path / place / "tokenizer.json")) for place in ("model", "again"))
    for text in ("the abc ab 20<|im_end|>", "  a\nthe<end_of_turn>th", "é"):
        assert one.encode(text).ids == other.encode(text).ids, text
    for key in metadata:
        if key.startswith("tokenizer.ggml.") and key not in ("tokenizer.ggml.scores", "tokenizer.ggml.pre"):
            assert key in again, key
    assert all(theirs[name].kind.name == "F32" for name in theirs)


def test_types_of_tensors(tiny_model: Path, tmp_path: Path) -> None:
    _, found = gguf_file.read(written(tiny_model, tmp_path / "q4.gguf", "q4_0"))
    kinds = {name: one.kind.name for name, one in found.items()}
    assert kinds["token_embd.weight"] == "Q8_0" and kinds["blk.0.attn_q.weight"] == "Q4_0"
    assert {kinds[name] for name in kinds if "norm" in name} == {"F32"}


def test_the_tokenizer_of_the_builtin_model(builtin_model: Path, tmp_path: Path) -> None:
    found = vocabulary.vocabulary(plain(builtin_model), 49154)
    assert found.pre == "smollm" and found.left_out == 0
    own = found.keys
    assert own["tokenizer.ggml.tokens"][-2:] == ["[PAD49152]", "[PAD49153]"]  # type: ignore[index]
    assert own["tokenizer.ggml.token_type"][-1] == vocabulary.UNUSED  # type: ignore[index]
    assert (own["tokenizer.ggml.eos_token_id"], own["tokenizer.ggml.add_bos_token"]) == (2, False)
    assert "SmolLM" in str(own["tokenizer.chat_template"])


def test_a_tokenizer_that_no_rule_reproduces_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for path in tiny_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "[aeiou]"}, "behavior": "Isolated", "invert": False}
    about["pre_tokenizer"]["pretokenizers"].insert(0, split)
    (tmp_path / "tokenizer.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"no rule of GGUF .*; the nearest, .*, splits .* otherwise \(use --to model"):
        vocabulary.vocabulary(plain(tmp_path), 49152)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "olmo2"}, "models of type 'olmo2' are not supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "RoPE is scaled by 'dynamic'"),
    ],
)
def test_what_gguf_cannot_say_is_refused(tiny_model: Path, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(UserError, match=said):
        keys.described(tmp_path, 49152)


@dataclass(frozen=True)
class Consumer:
    """A llama.cpp that computes what the trial says, but for one thing."""

    path: Path
    of: trial.Trial
    encoder: ChatEncoder
    wrong: str = ""

    def tokens(self, text: str, *, whole_prompt: bool = False) -> list[int]:
        known = dict(self.of.texts) | {self.prompt(c): ids for c, ids in self.of.conversations}
        more = [7] if self.wrong == ("prompts" if whole_prompt else "tokens") else []
        if text not in known and whole_prompt:  # as Ollama writes it
            return next([*more, *ids] for _, ids in self.of.conversations if self.encoder.decode_all(ids) == text)
        return [*more, *known[text]]

    def prompt(self, conversation: Conversation) -> str:
        return json.dumps(list(conversation.messages))

    def prompt_count(self, conversation: Conversation) -> int:
        ids = next(ids for one, ids in self.of.conversations if one == conversation)
        return len(ids) + (self.wrong == "count")

    def ends_at(self, ids: Sequence[int], token: int) -> bool:
        return self.wrong != "end"

    def logprobs(self, ids: Sequence[int], vocabulary: int) -> np.ndarray:
        right = next(one.tuned for one in self.of.places if one.ids == list(ids))
        noise = np.random.default_rng(0).normal(size=vocabulary)
        off = {"numbers": 0.05, "Q8_0": 0.5}.get(self.wrong, 0.0) * ("F16" in self.path.name or self.wrong == "Q8_0")
        return trial.normalised(right + off * noise * ("F16" not in self.path.name or self.wrong == "numbers"))


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """consumer("tokens"): llama.cpp is there, and is wrong in this."""
    tried: list[trial.Trial] = []
    sources: list[Source] = []
    made = trial.trial_of

    def keep(source: Source, *, numbers: bool) -> trial.Trial:
        sources.append(source)
        tried.append(made(source, numbers=numbers))
        return tried[-1]

    def be(wrong: str, of: tuple[Source, trial.Trial] | None = None) -> None:
        @contextmanager
        def serving(path: Path, *, context: int) -> Iterator[Consumer]:
            asked, compared = of or (sources[-1], tried[-1])
            yield Consumer(path, compared, asked.encoder, wrong)

        monkeypatch.setattr(check, "serving", serving)

    monkeypatch.setattr(folder, "trial_of", keep)
    monkeypatch.setattr(server, "found", lambda: "a llama.cpp of the tests")
    return be


@pytest.fixture(scope="module")
def tried(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, trial.Trial]:
    adapter = mlx_adapter(tiny_model, tmp_path_factory.mktemp("tried") / "source", lora_layers=1)
    source = open_source(adapter, None, print)
    return source, trial.trial_of(source, numbers=True)


def run(source: Path, output: Path, **flags: Any) -> ExportRecord:
    export.main(export.Config(**{"source": source, "to": "gguf", "output": output, **flags}))
    return ExportRecord.read(output / files.EXPORT_RECORD)


def test_what_is_right_is_kept_and_shown(
    tiny_model: Path, tmp_path: Path, consumer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source")
    consumer("Q8_0")
    record = run(source, tmp_path / "out", type_="f16,q8_0", name="tiny")
    shown = capsys.readouterr().out
    assert [one.name for one in record.files] == ["tiny-F16.gguf", "tiny-Q8_0.gguf"]
    exact, small = record.files
    assert exact.kl is not None and exact.kl < 1e-9 and exact.kept and exact.kept > 0.999
    assert small.kl and small.kl > 0.01 and record.consumer and record.consumer.effect > 0 and record.pre == "smollm"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(one.name for one in record.files),
        files.MODELFILE,
        files.EXPORT_RECORD,
    }
    assert all(files.file_hash(tmp_path / "out" / one.name) == one.sha256 for one in record.files)
    assert "as in training (pre: smollm)" in shown and "same next token" in shown
    assert "FROM ./tiny-F16.gguf" in (tmp_path / "out" / files.MODELFILE).read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("tokens", "makes other tokens of"),
        ("prompts", "asks otherwise than the run did"),
        ("count", "the chat endpoint of llama.cpp counts"),
        ("end", "does not stop at"),
        ("numbers", "computes something else than the adapters in MLX"),
    ],
)
def test_what_is_wrong_is_refused(tried: tuple[Source, trial.Trial], consumer: Any, wrong: str, said: str) -> None:
    source, made = tried
    consumer(wrong, tried)
    with pytest.raises(UserError, match=said) as refusal:
        check.prove(Path("tiny-F16.gguf"), source, made)
    assert refusal.value.exit_code == 3


def test_what_is_refused_leaves_nothing(
    tiny_model: Path, tmp_path: Path, consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("computes something else", exit_code=3)

    source = mlx_adapter(tiny_model, tmp_path / "source", lora_layers=1)
    monkeypatch.setattr(check, "prove", refuse)
    with pytest.raises(UserError, match="computes something else"):
        run(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_without_llama_cpp_it_is_refused_and_unverified_files_say_so(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = mlx_adapter(tiny_model, tmp_path / "source", lora_layers=1)
    monkeypatch.setattr(server, "found", lambda: "")
    with pytest.raises(UserError, match=r"make setup-gguf .* or export unverified files with --check none"):
        run(source, tmp_path / "out")
    record = run(source, tmp_path / "out", check="none")
    assert record.consumer is None and [one.kind for one in record.files] == ["q8_0"]
    assert "NOT VERIFIED" in capsys.readouterr().out
    assert "Not verified" in (tmp_path / "out" / files.MODELFILE).read_text()
    with pytest.raises(UserError, match="already exists"):
        run(source, tmp_path / "out", check="none")


CONVERSATIONS = [
    [("user", "Where is it?")],
    [("user", " blanks \n"), ("assistant", "yes"), ("user", "and {{ this }}?")],
    [("system", "Be brief."), ("user", 'a "quoted" <word>')],
    [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")],
]


@pytest.mark.parametrize("name", [*TEMPLATES])
def test_the_modelfile_asks_as_the_training_did(tiny_model: Path, tmp_path: Path, name: str) -> None:
    encoder = ChatEncoder(tiny_model, TEMPLATES[name])
    source = replace(plain(tiny_model), encoder=encoder)
    asked = [Conversation([{"role": r, "content": c} for r, c in turns]) for turns in CONVERSATIONS]  # type: ignore[misc]
    tried = trial.Trial([], [(one, encoder.prompt(one)) for one in asked], [], 0.0, 0, 0)
    found, note = modelfile.go_template(source, tried)
    assert found is not None and ("blanks" in note) == (name in ("gemma", "llama", "llama2", "alpaca"))
    text = modelfile.modelfile(source, "x.gguf", found, 2048)
    assert text.count('"""') == 2 and "PARAMETER temperature 0" in text and 'PARAMETER stop "<|im_end|>"' in text
