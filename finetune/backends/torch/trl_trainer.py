"""TRL's SFTTrainer over our token ids, masks and batches: the loop, the steps, mixed precision and the states are TRL's."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from trl import SFTConfig, SFTTrainer

from finetune.backends.torch.logprobs import collate, learned_logprobs
from finetune.backends.torch.runtime import Tensors, device, dtype, processes, torch
from finetune.methods import Method
from finetune.methods.batches import BatchSource, StepBatches
from finetune.models.examples import TrainingRow, examples_of
from finetune.settings.config import TrainingConfig

NextStep = Callable[[int], StepBatches | None]  # for a step counted from 0; None if somebody asked to stop


class CompletionTrainer(SFTTrainer):
    """``method`` gives the batches of an epoch and the loss of their learned tokens, as on MLX."""

    loss_is_scaled_for_ga = True  # over all batches of a step: see ``compute_loss``
    control: TrainerControl  # of what happens next; TRL's callbacks change it

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        method: Method,
        source: BatchSource,
        config: TrainingConfig,
        steps: int,
        optimizers: tuple[Any, Any],
    ):
        half = {torch.bfloat16: {"bf16": True}, torch.float16: {"fp16": True}}.get(
            dtype(), {"bf16": False, "fp16": False}
        )
        arguments = SFTConfig(
            output_dir=str(config.adapter_path),  # nothing is written there: states are saved where they belong
            max_steps=steps,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=1 if method.rollouts else config.grad_accumulation,
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            gradient_checkpointing=config.grad_checkpoint,
            gradient_checkpointing_kwargs={"use_reentrant": False} if config.grad_checkpoint else None,
            use_cpu=device().type == "cpu",
            seed=config.seed,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            dataloader_pin_memory=device().type == "cuda",
            ddp_find_unused_parameters=False,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **half,
        )
        if arguments.n_gpu > 1:  # several GPUs need a process each (accelerate launch); one process takes the first
            arguments._n_gpu = 1
        self._method, self._source, self._config = method, source, config
        # of this process's batches, since it was last emptied
        self.seen = {"loss": 0.0, "weight": 0.0, "tokens": 0.0, "learned": 0.0}
        self.metrics: dict[str, list[float]] = {}  # likewise: of each its sum and its count
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {"labels": [0] * len(source.rows)}
            ),  # the loader below has the rows themselves
            data_collator=collate,
            processing_class=tokenizer,
            optimizers=optimizers,
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True  # so that the learned tokens of a step are counted, whatever the model
        _add_learned_logprobs(self.model.get_base_model(), method.temperature(config))

    def listen(
        self, next_step: NextStep, on_step: Callable[[int, float, float], bool], stop: Callable[[], bool]
    ) -> None:
        """``next_step`` gives the batches of a step.

        ``on_step`` is called after each step with its number, the norm of its gradient and its learning rate, and returns
        whether to continue. ``stop`` is called between the batches of a step.
        """
        self._next_step, self._stop = next_step, stop
        self.remove_callback(_Reporter)
        self.add_callback(_Reporter(on_step, stop))

    def taken(self, step: int) -> StepBatches | None:
        """The batches of the step that has just ended, counted from 0."""
        return self._next_step(step)

    def get_train_dataloader(self) -> DataLoader:
        return _Loader(self._source.rows, batch_sampler=_Batches(self._source), collate_fn=with_examples)

    def compute_loss(
        self, model: Any, inputs: Tensors, *, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The method's loss over the learned tokens, divided by those of the whole step, in all processes."""
        examples = inputs.pop("examples")
        logprobs = model(**inputs, only_learned=True)  # through the wrapper that adds up what several processes found
        if not examples:  # of this process; the others wait for it
            return logprobs.sum() * 0.0
        with logprobs.device:  # the device on which the loss makes its constants
            loss = self._method.loss(torch, logprobs, examples, self._config)
        self.seen["loss"] += float(loss.total.detach())
        self.seen["weight"] += loss.weight
        self.seen["learned"] += len(logprobs)
        for name, metric in loss.metrics.items():
            before = self.metrics.get(name, [0.0, 0.0])
            self.metrics[name] = [before[0] + float(metric.total.detach()), before[1] + metric.count]
        self.seen["tokens"] += inputs["input_ids"][:, 1:].numel() if loss.weight else 0
        return loss.total / num_items_in_batch * processes()  # their gradients are averaged afterwards

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, on: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and the weight of its loss in all processes: for TRL always its learned tokens."""
        samples, count = super().get_batch_samples(epoch_iterator, num_batches, on)
        if not self._method.pairs:
            return samples, count
        rows = sum(len(batch["examples"]) for batch in samples) // 2
        return samples, self.accelerator.gather(torch.tensor([rows], device=on)).sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Only to the callback: the metrics file is not TRL's, and its history of all steps would grow in each state."""
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def store_flos(self) -> None:
        """Nothing: nobody asks for them, and to add them up all processes would have to save a state together."""

    def create_model_card(self, **named: Any) -> None:
        """None: run.json says what made the adapters."""

    def _send_telemetry(self) -> None:
        """Nothing is sent: TRL would tell the Hub of each training."""

    def let_go_of_processes(self) -> None:
        """Give up the wrapper that adds up gradients: held until the end of the process, its threads would abort that."""
        self.accelerator.free_memory()
        self.model_wrapped = self.model

    def write_state(self, folder: Path) -> None:
        """What ``train(resume_from_checkpoint=folder)`` needs: weights, optimizer, schedule, randomness, step."""
        self.args.output_dir = str(folder)
        self.control.should_training_stop = False  # it stops now, not when the run is resumed
        self._save_checkpoint(self.model, trial=None)
        made = folder / f"checkpoint-{self.state.global_step}"
        for path in made.iterdir():
            if path.name not in ("training_args.bin", "README.md"):  # a pickle that is never read
                path.rename(folder / path.name)
            else:
                path.unlink()
        made.rmdir()


def _add_learned_logprobs(network: Any, temperature: float) -> None:
    """Let ``network(**batch, only_learned=True)`` give the log-probabilities of the learned tokens."""
    plain = network.forward

    @functools.wraps(type(network).forward)
    def forward(*arguments: Any, only_learned: bool = False, **named: Any) -> Any:
        return learned_logprobs(network, named, temperature) if only_learned else plain(*arguments, **named)

    network.forward = forward


def with_examples(rows: Sequence[TrainingRow]) -> Tensors:
    """A batch as TRL passes it around: tensors for the model, and the examples for the loss."""
    examples = examples_of(rows)
    return {**collate(examples), "examples": examples}


class _Batches(Sampler):
    """This process's share of the rows of each batch; shuffled anew in each epoch by the seed alone."""

    def __init__(self, source: BatchSource):
        self._source, self._epoch = source, 0
        self._count = len(source.epoch(0))

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        rank = torch.distributed.get_rank() if processes() > 1 else 0
        for batch in self._source.epoch(self._epoch):
            yield batch[rank :: processes()]


class _Loader(DataLoader):
    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


class _Reporter(TrainerCallback):
    def __init__(self, on_step: Callable[[int, float, float], bool], stop: Callable[[], bool]):
        self._on_step, self._stop = on_step, stop

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **named: Any) -> None:
        control.should_training_stop = control.should_training_stop or self._stop()

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **named: Any,
    ) -> None:
        if (
            logs
            and "grad_norm" in logs
            and not self._on_step(state.global_step, logs["grad_norm"], logs["learning_rate"])
        ):
            control.should_training_stop = True
