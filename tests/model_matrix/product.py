"""The cells of the matrix that the product itself fills: its scripts are called as they call themselves.

Whatever is compared with the plain reference is left in the kind's folder for ``reference.py``, which runs in another process
and uses no code of ours.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.backends import load_backend

mlx = load_backend("mlx")

import train as train_script  # noqa: E402
from finetune.backends.mlx import adapters  # noqa: E402
from finetune.backends.mlx import model as mlx_model  # noqa: E402
from finetune.backends.mlx.model import load_network  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402
from finetune.errors import Stopped  # noqa: E402
from finetune.methods import METHODS  # noqa: E402
from finetune.methods.batches import StepBatches  # noqa: E402
from finetune.models.encoder import ChatEncoder  # noqa: E402
from finetune.models.examples import TrainingRow, as_rows  # noqa: E402
from finetune.models.loss_mask import Example  # noqa: E402
from finetune.records import files  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.signals import StopRequest, never  # noqa: E402
from finetune.training import run as training_run  # noqa: E402
from model_matrix import builders  # noqa: E402
from model_matrix.cells import Cell, differ, wrong  # noqa: E402
from model_matrix.page import NOT_TRAINED  # noqa: E402
from model_matrix.runs import ASKED, MAX_TOKENS, configured, flags_of, judge, quiet  # noqa: E402

PROBE = [[5, 17, 200, 42, 7, 7, 199, 23, 11, 4, 90, 31, 250, 66, 8, 9, 10, 301, 77, 3]]  # longer than the windows
STOPPED_AFTER = 2  # of the steps of a run


class FixedSource:
    """One batch for every step."""

    def __init__(self, rows: list[TrainingRow]):
        self.rows = rows

    def epoch(self, number: int) -> list[list[int]]:
        return [list(range(len(self.rows)))]

    def next_step(self, step: int, policy: Any, stop: Any) -> StepBatches:
        return StepBatches(self.epoch(0)[0], [self.rows])

    def state(self) -> dict[str, object]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class _StopAfter(StopRequest):
    """Stops a run after a few of its steps: it is asked once before each."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > STOPPED_AFTER


def _because(notes: Sequence[str], word: str) -> str:
    """The reason in the note about a fast path."""
    note = next((note for note in notes if word in note), "")
    return note.partition("because ")[2].partition(";")[0] if "because " in note else note


class Case:
    """A kind of model under test. ``folder`` is its own; ``data`` the rows of all."""

    def __init__(self, kind: str, folder: Path, data: Path):
        self.kind, self.folder, self.data = kind, folder, data

    @cached_property
    def model(self) -> Path:
        folder = self.folder / "model"
        return folder if folder.exists() else builders.build(self.kind, folder)

    @cached_property
    def encoder(self) -> ChatEncoder:
        return ChatEncoder(self.model)

    @cached_property
    def examples(self) -> list[Example]:
        """Conversations of several lengths; the first three share a long prompt."""
        chosen = [(ASKED[3][0], "Nine."), ASKED[3], (ASKED[3][0], "No, I count to ten."), ASKED[0], ASKED[5]]
        return [
            self.encoder.example([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}])
            for asked, answer in chosen
        ]

    # the columns, in the order in which they are run

    def trains(self) -> Cell:
        with quiet():
            train_script.main(configured(TrainingConfig, **self._flags("run")))
        losses = [json.loads(line).get("loss") for line in (self.folder / "run" / files.METRICS).open()]
        if not all(loss is None or 0 < loss < 100 for loss in losses):
            return wrong(f"losses {losses}")
        return Cell("ok")

    def plan(self) -> Cell:
        with quiet() as said:
            train_script.main(configured(TrainingConfig, **self._flags("planned"), dry_run=True))
        return Cell("ok") if "memory" in said.getvalue().lower() else wrong("no estimate")

    def judged(self) -> Cell:
        if not self._trained:
            return Cell("none", NOT_TRAINED)
        return judge(self.folder / "run", self.folder / "results")

    def resume(self) -> Cell:
        if not self._trained:
            return Cell("none", NOT_TRAINED)
        whole = (self.folder / "run" / files.ADAPTERS).read_bytes()
        flags = self._flags("resumed", show_samples=0)
        with quiet():
            request, training_run.StopRequest = training_run.StopRequest, _StopAfter
            try:
                train_script.main(configured(TrainingConfig, **flags))
                return wrong("the run was not stopped")
            except Stopped:
                pass
            finally:
                training_run.StopRequest = request
            train_script.main(configured(TrainingConfig, adapter_path=flags["adapter_path"], resume=True))
        again = (self.folder / "resumed" / files.ADAPTERS).read_bytes()
        return Cell("ok") if again == whole else wrong("the adapters are others than those of one run")

    def head(self) -> Cell:
        trainer = self._trainer(self._settings())
        if why := _because(trainer.notes, "logits of all"):
            return Cell("full", why)
        slower = _because(trainer.notes, "for the CPU")
        return Cell("slower", slower) if slower else Cell("fast")

    def gradients(self) -> Cell:
        self._step("lora")
        return Cell("ok")

    def checkpointing(self) -> Cell:
        why = _because(self._step("checkpointing", grad_checkpoint=True), "--grad-checkpoint")
        return Cell("off", why) if why else Cell("ok")

    def dora(self) -> Cell:
        self._step("dora", fine_tune_type="dora")
        return Cell("ok")

    def full(self) -> Cell:
        self._step("full", fine_tune_type="full")
        return Cell("ok")

    def shared(self) -> Cell:
        """Rows with the same prompt side by side, as pairs have them."""
        why = _because(self._step("shared", method=replace(METHODS["sft"], pairs=True)), "prompt of several")
        return Cell("off", why) if why else Cell("on")

    def padding(self) -> Cell:
        """Log-probabilities of each row beside longer ones, and alone."""
        model = mlx.load(self.model, self.encoder)
        together = model.losses(self.examples)
        alone = [model.losses([example])[0] for example in self.examples]
        return differ("losses beside longer rows and alone", together, alone, 1e-4) or Cell("ok")

    def with_cache(self) -> Cell:
        """Losses as they are trained, and of the same tokens read one after the other, as an answer is decoded."""
        from mlx_lm.models.cache import make_prompt_cache

        model, example = mlx.load(self.model, self.encoder), self.examples[1]
        tokens, cache, wanted = mx.array([example.tokens]), make_prompt_cache(model.network), 0.0
        first = example.loss_mask.index(True)
        for at in (0, *range(first, len(example.tokens) - 1)):
            piece = tokens[:, at : first if at == 0 else at + 1]
            logits = model.network(piece, cache=cache)[0, -1].astype(mx.float32)
            label = example.tokens[at + piece.shape[1]]
            wanted -= float(logits[label] - mx.logsumexp(logits))
        cell = differ("losses whole and token by token", model.losses([example]), [wanted], 1e-3)
        if cell and not (self.folder / "answers.json").exists():
            self.answers()
        told = cell and "otherwise than in training" in json.loads((self.folder / "answers.json").read_text())["how"]
        return Cell("told", cell.why) if cell and told else cell or Cell("ok")

    def answers(self) -> Cell:
        """Many conversations at once; the reference decodes each alone."""
        model = mlx.load(self.model, self.encoder)
        conversations = [[{"role": "user", "content": asked}] for asked, _ in ASKED]
        tokens: dict[int, list[int]] = {}
        decoder = mlx_model.Decoder

        class Remembering(decoder):  # type: ignore[misc, valid-type]
            def run(self, *arguments: Any) -> Any:
                for finished in super().run(*arguments):
                    tokens[finished.index] = list(finished.tokens)
                    yield finished

        mlx_model.Decoder = Remembering  # type: ignore[misc]
        try:
            with quiet():
                model.answers(conversations, max_tokens=MAX_TOKENS, stops=False)
        finally:
            mlx_model.Decoder = decoder  # type: ignore[misc]
        found = [tokens[index] for index in range(len(conversations))]
        prompts = [self.encoder.prompt(conversation) for conversation in conversations]
        self._leave("answers", {"prompts": prompts, "answers": found, "how": model.answering})
        how = model.answering
        slower = {"one by one": "one by one", "only prompts": "some"}
        word = next((word for begin, word in slower.items() if how.startswith(begin)), "batches")
        return Cell(word, how if word != "batches" or ":" in how else "")

    def in_mlx_lm(self) -> Cell:
        """Logits with the adapter attached; mlx_lm loads the same folder."""
        self._step("lora")
        model = mlx.load(self.model, self.encoder, self.folder / "lora")
        self._leave("probe", PROBE)
        mx.save_safetensors(str(self.folder / "attached.safetensors"), {"logits": model.network(mx.array(PROBE))})
        return Cell("ok")

    def fused(self) -> Cell:
        self._step("lora")
        model = mlx.load(self.model, self.encoder, self.folder / "lora")
        base = model.without_adapter().network(mx.array(PROBE))
        attached = model.network(mx.array(PROBE))
        fused = model.fused().network(mx.array(PROBE))
        if "bits" in json.dumps(json.loads((self.model / "config.json").read_text()).get("quantization", {})):
            off = float(mx.abs(fused - attached).max() / attached.std())
            return Cell("ok") if off < 6 else wrong(f"off by {off:.1f} standard deviations, requantised")
        if float(mx.abs(base - attached).max()) < 1e-4:
            return wrong("the adapter changes nothing")
        return differ("logits", fused, attached, 1e-3) or Cell("ok")

    def transformers_5(self) -> Cell:
        """Logits of the same weights with config.json as transformers 5 writes it."""
        folder = self.folder / "new"
        if not folder.exists():
            builders.build(self.kind, folder, form="new")
        old, new = ((path / "config.json").read_text() for path in (self.model, folder))
        if json.loads(old) == json.loads(new):
            return Cell("none", "the same file in both forms: no RoPE, or rope_parameters from the beginning")
        from finetune.models.find import find_model

        found = find_model(str(folder), lambda line: None).path
        wanted, have = (load_network(path)(mx.array(PROBE)) for path in (self.model, found))
        return differ("logits", have, wanted, 1e-5) or Cell("ok")

    def _flags(self, name: str, **more: object) -> dict[str, object]:
        return flags_of(self.model, self.data, self.folder / name, **more)

    @property
    def _trained(self) -> bool:
        return (self.folder / "run" / files.ADAPTERS).exists()

    def _settings(self, **more: object) -> TrainingConfig:
        settings = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 1.0, "warmup": 0, "weight_decay": 0.0}
        settings |= {"max_grad_norm": 1e6, "lora_dropout": 0.0, "batch_size": len(self.examples), **more}
        return replace(TrainingConfig(lora_rank=4), **settings)  # type: ignore[arg-type]

    def _trainer(self, config: TrainingConfig, method: Any = METHODS["sft"], start: Path | None = None) -> Any:
        rows = as_rows(self.examples)
        return mlx.Trainer(mlx.load(self.model, self.encoder), method, FixedSource(rows), config, 1, "base", start)

    def _step(self, name: str, method: Any = METHODS["sft"], **changed: object) -> list[str]:
        """One step of SGD at a learning rate of 1: what it changes is the gradient. Left for the reference with its loss.
        Returns what the trainer says of its fast paths."""
        kind = str(changed.get("fine_tune_type", "lora"))
        folder = self.folder / kind
        if (self.folder / f"{name}.json").exists():
            return json.loads((self.folder / f"{name}.json").read_text())["notes"]
        config = self._settings(**changed)
        if not folder.exists():
            self._adapter(folder, kind)
        trainer = self._trainer(config, method, folder / files.ADAPTERS)
        before = adapters.trainable(trainer.network)
        steps: list[Any] = []
        trainer.train(never, lambda step: bool(steps.append(step)))
        after = adapters.trainable(trainer.network)
        found = {key: before[key] - after[key] for key in before}
        mx.save_safetensors(str(self.folder / f"{name}.safetensors"), found)
        about = {"kind": kind, "loss": steps[0].loss, "notes": list(trainer.notes)}
        self._leave(name, {**about, "examples": [[example.tokens, example.loss_mask] for example in self.examples]})
        return list(trainer.notes)

    def _adapter(self, folder: Path, kind: str) -> None:
        """An adapter folder of ours whose every array matters."""
        trainer = self._trainer(self._settings(fine_tune_type=kind))
        mx.random.seed(7)
        arrays = {
            key: array + 0.1 * mx.random.normal(array.shape).astype(array.dtype) if key.endswith("lora_b") else array
            for key, array in adapters.trainable(trainer.network).items()
        }
        folder.mkdir()
        (folder / files.ADAPTER_CONFIG).write_text(json.dumps(dict(trainer.adapter_config)))
        adapters.save(arrays, folder / files.ADAPTERS, {"base": "base"})

    def _leave(self, name: str, content: object) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(content))


COLUMNS: dict[str, Callable[[Case], Cell]] = {
    "trains": Case.trains,
    "plan": Case.plan,
    "gradients": Case.gradients,
    "padding": Case.padding,
    "answers": Case.answers,
    "with a cache": Case.with_cache,
    "judged": Case.judged,
    "head": Case.head,
    "checkpointing": Case.checkpointing,
    "shared prompts": Case.shared,
    "DoRA": Case.dora,
    "full": Case.full,
    "resume": Case.resume,
    "in mlx-lm": Case.in_mlx_lm,
    "fused": Case.fused,
    "transformers 5": Case.transformers_5,
}
