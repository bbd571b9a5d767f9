"""Answers to many prompts: ours against ``mlx_lm.generate``, one after the other, and ``mlx_lm.batch_generate``.

    python benchmarks/generation.py                                       builtin model and rows
    python benchmarks/generation.py --model gemma.gguf --rows ROWS.jsonl --prompts 32

All answer the same prompts greedily with the same float32 weights, on the same BLAS with the same settings of malloc, each in
a process of its own, one after the other; loading and a first short answer are not counted. The texts are compared: in
another order of summation two nearly equal logits can change places, so a few may part ways, and how many is said. Memory is
MLX's peak above the weights.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.versus_mlx_lm import prepare  # noqa: E402
from finetune.errors import UserError  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

Answers = list[list[int]]


@dataclass(frozen=True)
class GenerationConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    adapter_path: Path | None = option(None, "answer with this adapter")
    prompts: int = option(128, "how many", at_least=2)
    max_tokens: int = option(64, "longest answer", at_least=1)
    peer_batch: int = option(32, "rows at once of batch_generate (its own default)", at_least=1)
    sample_size: int = option(2560, "rows to draw the prompts from: a tenth are test rows", at_least=40)
    folder: Path | None = option(None, "a prepared folder (how this script calls itself)")
    who: str = option("all", "who answers", choices="who")
    json: Path | None = option(None, "write the result to this file")


def main(config: GenerationConfig) -> None:
    if config.folder is not None:
        print(json.dumps(_turn(config, config.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        prepare(config.model, config.rows, config.sample_size, Path(name))
        found = {who: _in_its_own_process(who, name) for who in _WHO}
    record = {"found": found, "machine": asdict(machine.describe())}
    _print(found, config)
    if config.json:
        files.write_json(config.json, record)


def _in_its_own_process(who: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--who", who]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{who}: {result['seconds']:.1f} s", file=sys.stderr, flush=True)
    return dict(result)


def _turn(config: GenerationConfig, folder: Path) -> dict[str, Any]:
    from finetune.backends.mlx.runtime import mx, streams
    from finetune.models.encoder import ChatEncoder

    encoder = ChatEncoder(folder / "model")
    rows = [row for split in ("test", "valid") for _, row in files.read_jsonl(folder / "data" / f"{split}.jsonl")]
    conversations = [row["messages"][:-1] for row in rows[: config.prompts]]
    if len(conversations) < config.prompts:
        raise UserError(f"--prompts: there are {len(conversations)} (give a larger --sample-size)")
    streams(1)
    answer = _WHO[config.who](config, folder, encoder)
    answer(conversations[:2], 2)
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    started = time.perf_counter()
    answers = answer(conversations, config.max_tokens)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "tokens_per_second": sum(map(len, answers)) / seconds,
        "prompt_tokens": sum(len(encoder.prompt(messages)) for messages in conversations),
        "peak_above_weights_mb": (mx.get_peak_memory() - weights) / 1e6,
        "answers": answers,
    }


def _ours(config: GenerationConfig, folder: Path, encoder: Any) -> Callable[[Any, int], Answers]:
    from finetune.backends import mlx
    from finetune.backends.mlx.decoding import Decoder

    network = mlx.load(folder / "model", encoder, config.adapter_path).network

    def answer(conversations: Any, max_tokens: int) -> Answers:
        decoder = Decoder(network, encoder.stop_tokens, max_tokens)
        found = {finished.index: finished.tokens for finished in decoder.run(list(map(encoder.prompt, conversations)))}
        return [found[index] for index in range(len(conversations))]

    return answer


def _peer(config: GenerationConfig, folder: Path, encoder: Any) -> tuple[Any, Any]:
    from mlx_lm.utils import load

    adapter = None if config.adapter_path is None else str(config.adapter_path)
    model, tokenizer, *_ = load(str(folder / "model"), adapter_path=adapter)
    tokenizer.eos_token_ids = set(encoder.stop_tokens)
    return model, tokenizer


def _one_by_one(config: GenerationConfig, folder: Path, encoder: Any) -> Callable[[Any, int], Answers]:
    from mlx_lm.generate import stream_generate

    model, tokenizer = _peer(config, folder, encoder)

    def answer(conversations: Any, max_tokens: int) -> Answers:
        answers = []
        for messages in conversations:
            replies = stream_generate(model, tokenizer, encoder.prompt(messages), max_tokens=max_tokens)
            answers.append([r.token for r in replies if r.token not in encoder.stop_tokens])
        return answers

    return answer


def _batch_generate(config: GenerationConfig, folder: Path, encoder: Any) -> Callable[[Any, int], Answers]:
    from mlx_lm.generate import batch_generate

    model, tokenizer = _peer(config, folder, encoder)

    def answer(conversations: Any, max_tokens: int) -> Answers:
        prompts = [encoder.prompt(messages) for messages in conversations]
        found = batch_generate(
            model,
            tokenizer,
            prompts,
            max_tokens=max_tokens,
            return_token_ids=True,
            completion_batch_size=config.peer_batch,
        )
        return list(found.token_ids or [])

    return answer


def _print(found: dict[str, dict[str, Any]], config: GenerationConfig) -> None:
    ours = found["ours"]
    tokens = sum(map(len, ours["answers"]))
    print(
        f"\n{config.model}, {config.rows}: {config.prompts} prompts of {ours['prompt_tokens'] / config.prompts:.0f} tokens,"
        f" answers of {tokens / config.prompts:.0f}, at most {config.max_tokens}"
    )
    print(f"{'':<26}{'seconds':>9}{'tokens/s':>10}{'ours is':>10}{'peak MB':>9}{'equal texts':>16}")
    for who, side in found.items():
        equal = sum(a == b for a, b in zip(side["answers"], ours["answers"], strict=True))
        print(
            f"{_NAMES[who]:<26}{side['seconds']:>9.1f}{side['tokens_per_second']:>10.1f}"
            f"{side['seconds'] / ours['seconds']:>8.2f} x{side['peak_above_weights_mb']:>9.0f}"
            f"{f'{equal} of {config.prompts}':>16}"
        )


_NAMES = {"ours": "ours", "one_by_one": "mlx_lm.generate", "batch_generate": "mlx_lm.batch_generate"}
_WHO = {"ours": _ours, "one_by_one": _one_by_one, "batch_generate": _batch_generate}

if __name__ == "__main__":
    command_line.run(main, GenerationConfig, choices={"who": {"all": None, **_WHO}})
