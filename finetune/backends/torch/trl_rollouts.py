"""TRL's loop over the steps of a rollout source, which are made only when they begin."""

from typing import Any

from torch.utils.data import DataLoader

from finetune.backends.torch.runtime import torch
from finetune.backends.torch.trl_trainer import CompletionTrainer, with_examples
from finetune.methods.batches import StepBatches
from finetune.models.examples import examples_of


class RolloutTrainer(CompletionTrainer):
    """To TRL each step is one batch. Its contents are asked for when the step begins."""

    _work: StepBatches  # of the step under way

    def taken(self, step: int) -> StepBatches:
        return self._work

    def train(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().train(*arguments, **named)
        except _Interrupted:
            self.model.zero_grad()
            self.seen, self.metrics = dict.fromkeys(self.seen, 0.0), {}

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(range(self.args.max_steps), batch_size=1)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, on: Any) -> tuple[list[Any], Any]:
        return [next(epoch_iterator)], None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The gradients of the step's parts, summed, over the weights of their losses; those are known only afterwards, and
        until then the number of learned tokens stands for them: in float16 a plain sum would overflow."""
        work = self._next_step(self.state.global_step)
        if work is None:
            raise _Interrupted
        self._work = work
        total = torch.zeros((), device=self.args.device)
        learned = sum(example.learned for part in work.batches for example in examples_of(part))
        for number, part in enumerate(work.batches):
            if number and self._stop():
                raise _Interrupted
            total += super().training_step(model, with_examples(part), learned)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad *= learned / self.seen["weight"]
        if not work.batches:
            # without gradients the optimizer, and in float16 what scales its steps, are passed over
            self.accelerator.gradient_state._set_sync_gradients(sync_gradients=False)
        return total

    def _clip_grad_norm(self, model: Any) -> Any:
        return super()._clip_grad_norm(model) if self._work.batches else torch.zeros(())

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: to TRL the batch is a number."""
        return 0


class _Interrupted(Exception):
    """Somebody asked to stop in the middle of a step: it has changed nothing, and will be repeated."""
