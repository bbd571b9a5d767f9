"""A model and its adapter in memory: it answers, one conversation at a time or many at once, and scores given answers."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from finetune.backends.interface import Answer, Sample
from finetune.backends.length_batches import length_batches, split_by_learned
from finetune.backends.torch import adapters
from finetune.backends.torch.logprobs import collate, learned_logprobs
from finetune.backends.torch.processors import Ends, Masked, TokenSampler
from finetune.backends.torch.runtime import device, dtype, quiet, torch
from finetune.errors import UserError
from finetune.models.constraint import Restrict
from finetune.models.conversation import AnyConversation
from finetune.models.encoder import ChatEncoder
from finetune.models.foreign import foreign
from finetune.models.loss_mask import Example
from finetune.signals import Stop, never

_LOGITS_COPIES = 6  # of a row's last logits in float32, while a token is sampled
_LOSS_TOKENS = 4096  # of conversations whose loss is computed at once
# answered at once: on a GPU a token takes about as long for many rows as for few
_MOST_ROWS = {"cpu": 32, "cuda": 1024, "mps": 128}
_CACHE_BYTES = 2e9  # of keys and values at once, prompts and answers at their longest
_CUDA_SHARE = 1 / 8  # of the device's memory, for the cache and for copies of the logits


def load(folder: Path, encoder: ChatEncoder, adapter: Path | None = None, base: str | None = None) -> "TorchModel":
    """The model of ``folder``, with the adapter of the folder ``adapter`` attached. UserError if it cannot be loaded, exit 3 if
    the adapter does not fit.

    ``base`` is the fingerprint of the model's weights; an adapter that records another one is refused.
    """
    quiet()
    refuse_unread(folder)
    with foreign(f"{folder}: PyTorch cannot load this model"):
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype(), local_files_only=True, trust_remote_code=False
        )
    network = as_trained(network).to(device()).requires_grad_(requires_grad=False).eval()
    if adapter is None:
        return TorchModel(network, encoder)
    model, switch = adapters.load(network, adapter, base)
    return TorchModel(network, encoder, model.eval(), switch)


def refuse_unread(folder: Path) -> None:
    """UserError for a model of which Transformers leaves something out."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") == "llama" and "sliding_attention" in (config.get("layer_types") or ()):
        raise UserError(
            f"{folder}: some layers see {config.get('sliding_window')} tokens (layer_types in config.json), which Transformers'"
            " llama does not compute (use --backend mlx)"
        )
    if "quantization" in config:
        raise UserError(f"{folder}: its weights are quantised for MLX (use the original model, or --backend mlx)")


def as_trained(network: Any) -> Any:
    """Gemma's embeddings are multiplied by the root of their size, which training rounded to bfloat16: 25.25, not 25.298.

    Transformers rounds it to the type of the weights, so in float32 not at all, and the model is not quite the same one.
    """
    embeddings = network.get_input_embeddings()
    if isinstance(scale := getattr(embeddings, "embed_scale", None), torch.Tensor):
        embeddings.embed_scale = scale.to(torch.bfloat16).to(scale.dtype)
    return network


class TorchModel:
    """A model of ``backends.interface``. ``switch`` brings the adapter of ``peft_model`` into ``state``."""

    def __init__(
        self,
        network: Any,
        encoder: ChatEncoder,
        peft_model: Any = None,
        switch: Callable[[adapters.AdapterMode], None] | None = None,
        state: adapters.AdapterMode = "attached",
    ):
        self._network, self.encoder = network, encoder
        self._peft_model, self._switch, self._state = peft_model, switch, state

    @property
    def network(self) -> Any:
        """The causal language model of Transformers, the adapter's layers inside it."""
        if self._switch:
            self._switch(self._state)
        return self._network

    def without_adapter(self) -> "TorchModel":
        """The base model on the same weights. It is not a second copy: only one of the two can work at a time."""
        return TorchModel(self._network, self.encoder, self._peft_model, self._switch, "disabled")

    def fused(self) -> "TorchModel":
        """The tuned model with the adapter added into a copy of the adapted weights."""
        return TorchModel(self._network, self.encoder, self._peft_model, self._switch, "fused")

    @property
    def changes_nothing(self) -> bool:
        """Whether there is an adapter that leaves the model unchanged."""
        return self._peft_model is not None and adapters.changes_nothing(self._peft_model)

    @property
    def answering(self) -> str:
        """Together, with the padding of Transformers."""
        return "together"

    def answers(
        self,
        conversations: Sequence[AnyConversation],
        on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
        *,
        max_tokens: int,
        stops: bool = True,
        stop: Stop = never,
        restrict: Restrict | None = None,
    ) -> list[Answer]:
        """Greedy answers, decoded many at a time, in the order of the conversations; empty if ``stop`` interrupted them.

        ``on_answer`` is called with each when its batch is finished. With ``stops`` False each runs to ``max_tokens``, for
        measurements.
        """
        prompts = [self.encoder.prompt(conversation) for conversation in conversations]
        answers: dict[int, Answer] = {}
        for indices in self._batches(prompts, max_tokens):
            ends = Ends(self.encoder.stop_tokens if stops else frozenset(), len(indices), stop)
            masked = Masked([restrict(index) for index in indices], self.encoder.stop_tokens) if restrict else None
            decoded = self._decode([prompts[index] for index in indices], max_tokens, ends, masked)
            if ends.interrupted:
                return []
            for row, tokens in enumerate(decoded):
                stopped, tokens = ends.at[row] is not None, tokens[: ends.at[row]]
                read = self.encoder.read(tokens, stopped=stopped)
                answer = Answer(read.text, len(tokens), stopped, ends.seconds[row], read.raw)
                answers[indices[row]] = answer
                on_answer(indices[row], answer)
        return [answers[index] for index in range(len(prompts))]

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        temperature: float,
        seed: str,
        stop: Stop = never,
    ) -> list[Sample] | None:
        """One sampled completion for each prompt (token ids); None if ``stop`` interrupted it."""
        found: dict[int, Sample] = {}
        with adapters.fused_for_a_while(self.network):
            for indices in self._batches(prompts, max_tokens):
                ends = Ends(self.encoder.stop_tokens, len(indices), stop)
                sampler = TokenSampler(temperature, [random.Random(f"{seed} {index}") for index in indices])
                for row, tokens in enumerate(self._decode([prompts[i] for i in indices], max_tokens, ends, sampler)):
                    at = ends.at[row]
                    count = len(tokens) if at is None else at + 1  # with the token that stops it
                    logprobs = [step[row] for step in sampler.logprobs[:count]]
                    found[indices[row]] = Sample(tokens[:count], logprobs, at is not None)
                if ends.interrupted:
                    return None
        return [found[index] for index in range(len(prompts))]

    def _batches(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Iterator[list[int]]:
        """Indices of prompts that are about as long, as many at a time as there is room for; the longest first."""
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        while order:
            count = self._rows_at_once(len(prompts[order[0]]) + max_tokens)
            indices, order = order[:count], order[count:]
            yield indices

    def _rows_at_once(self, length: int) -> int:
        config = self._network.config.get_text_config()
        all_heads = getattr(config, "num_attention_heads", None) or getattr(config, "num_heads", 1)  # Mamba has none
        heads = getattr(config, "num_key_value_heads", None) or all_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // all_heads
        row, room = 2 * config.num_hidden_layers * heads * size * dtype().itemsize * length, _CACHE_BYTES
        if device().type == "cuda":
            row += _LOGITS_COPIES * 4 * config.vocab_size
            # not what is free now: how many rows are computed together must be the same when a run is resumed
            room = _CUDA_SHARE * torch.cuda.get_device_properties(device()).total_memory
        return int(min(self.batch_hint, max(1, room // row)))

    @property
    def batch_hint(self) -> int:
        """How many answers to ask for in one call, so that progress can be shown in between."""
        return _MOST_ROWS[device().type]

    @torch.no_grad()
    def _decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, ends: Ends, processor: LogitsProcessor | None = None
    ) -> list[list[int]]:
        """The tokens after each prompt, until all have ended: greedy, unless ``processor`` samples or restricts them."""
        network = self.network.eval()
        length = max(len(prompt) for prompt in prompts)
        inputs = torch.tensor([[0] * (length - len(prompt)) + list(prompt) for prompt in prompts], device=device())
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device())
        outputs = network.generate(
            inputs,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max_tokens,
            logits_processor=LogitsProcessorList([processor] if processor else []),
            stopping_criteria=StoppingCriteriaList([ends]),
            pad_token_id=0,
            eos_token_id=None,
            # what a model's generation_config.json may ask for would make its answers others than those of MLX
            repetition_penalty=1.0,
            temperature=None,
            top_p=None,
            top_k=None,
        )
        return list(outputs[:, length:].tolist())

    @torch.no_grad()
    def losses(
        self,
        examples: Sequence[Example],
        on_batch: Callable[[int], None] = lambda count: None,
        *,
        same_prompts: bool = False,
    ) -> list[float]:
        """For each example the negative log-probability of its learned tokens, summed, in nats."""
        network = self.network.eval()
        found = [0.0] * len(examples)
        for indices in length_batches(examples, _LOSS_TOKENS):
            batch = [examples[index] for index in indices]
            inputs = {name: tensor.to(device()) for name, tensor in collate(batch).items()}
            values = learned_logprobs(network, inputs).tolist()
            for index, own in zip(indices, split_by_learned(values, batch), strict=True):
                found[index] = -sum(own)
            on_batch(len(batch))
        return found

    @torch.no_grad()
    def stream(self, prompt: Sequence[int], max_tokens: int, *, stops: bool = True) -> Iterator[int]:
        """Greedy tokens after a prompt (token ids), one at a time, without the end-of-sequence token that ends them."""
        network, cache = self.network.eval(), DynamicCache(config=self._network.config)
        inputs = torch.tensor([list(prompt)], device=device())
        for _ in range(max_tokens):
            logits = network(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            inputs = logits[:, -1].argmax(-1, keepdim=True)
            token = int(inputs.item())
            if stops and token in self.encoder.stop_tokens:
                return
            yield token
