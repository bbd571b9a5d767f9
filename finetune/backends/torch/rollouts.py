"""TRL's loop over steps that a source makes while it goes: answers that the model under training gives itself."""

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from finetune.backends.torch.runtime import torch
from finetune.backends.torch.sft import CompletionTrainer, with_examples
from finetune.methods.base import Turn

NextTurn = Callable[[int], Turn | None]  # of a step counted from 0; None where somebody asked to stop


class TurnTrainer(CompletionTrainer):
    """To TRL each step is one batch. What it computes, and in how many parts, is asked for when the step begins."""

    turn: Turn  # of the step under way

    def ask(self, next_turn: NextTurn) -> None:
        self._next_turn = next_turn

    def train(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().train(*arguments, **named)
        except _NoTurn:
            return None

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(range(self.args.max_steps), batch_size=1)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, on: Any) -> tuple[list[Any], Any]:
        return [next(epoch_iterator)], None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The gradients of the step's parts, summed, over the weights of their losses, which are known only afterwards."""
        turn = self._next_turn(self.state.global_step)
        if turn is None:
            raise _NoTurn
        self.turn = turn
        parts = [super(TurnTrainer, self).training_step(model, with_examples(part), 1) for part in turn.batches]
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= self.seen["weight"]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=self.args.device)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0


class _NoTurn(Exception):
    """Somebody asked to stop before the step had begun."""
