"""What a training run would be: its work, its memory, its time, and what to change if it does not fit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from finetune.backends.interface import Backend, DeviceMemory, MemoryEstimate
from finetune.methods import Method, RowSource, epoch_steps, total_steps
from finetune.methods.dummies import dummy_rows
from finetune.models.examples import TrainingRow, examples_of
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.rollouts.probe import RewardProbe, probe_rewards
from finetune.rollouts.rewards import open_judge
from finetune.rollouts.source import packed
from finetune.settings import conflicts
from finetune.settings.config import TrainingConfig
from finetune.signals import ending
from finetune.tasks import TASKS
from finetune.tasks.mixed import for_rows
from finetune.tasks.own_scorer import check_scorer, with_scorer
from finetune.terminal import say
from finetune.training.inputs import Inputs, read_inputs

_PROCESS_MB = 450  # Python, its packages, and what the C library keeps for reuse, beside what the backend counts
_SPARE = 1.1  # the estimate is one
_LOOKED_AT = 3  # epochs in which the largest batch is looked for
_FORWARD = 0.4  # what a token costs in a validation, of what it costs in a step
_QUANTISED_BITS = 4.5  # of a weight, with its scale and bias in groups of 64
_SHORT_ROWS = (512, 256, 128)


@dataclass(frozen=True)
class Work:
    """The batches of a run."""

    rows: int
    left_out: int  # too long
    valid_rows: int
    tokens: int  # of the rows
    learned: int
    lengths: tuple[int, int, int]  # of the shortest, the median and the longest row
    steps: int
    steps_per_epoch: int
    tokens_per_step: float  # as they are computed, with the padding
    padding: float  # share of what is computed
    typical: list[TrainingRow]  # a batch
    largest: list[TrainingRow]
    batches_per_step: float = 1.0  # of such a size

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch


@dataclass(frozen=True)
class Remedy:
    """The smallest change with which the run fits, and what it then needs."""

    change: str
    needed_mb: float


@dataclass(frozen=True)
class Plan:
    config: TrainingConfig
    model: str
    work: Work
    memory: MemoryEstimate
    device: DeviceMemory
    remedy: Remedy | None
    reward_probe: RewardProbe | None = None  # with --method grpo

    @property
    def total_mb(self) -> float:
        """Memory that this process may have; infinite if the system does not say."""
        return self.device.total / 1e6

    @property
    def available_mb(self) -> float:
        return self.device.free / 1e6

    @property
    def needed_mb(self) -> float:
        return needed_mb(self.memory, self.device)

    @property
    def fits(self) -> bool:
        return self.needed_mb <= self.available_mb

    @property
    def validations(self) -> int:
        return -(-self.work.steps // self.config.steps_per_eval) if self.work.valid_rows else 0

    @property
    def seconds(self) -> float:
        """Of the whole run, but for the answers it shows."""
        work = self.work
        if self.reward_probe:
            return (
                self.seconds_per_step * work.steps
                + self.validations * work.valid_rows * self.reward_probe.seconds_per_completion
            )
        validated = self.validations * work.valid_rows * work.tokens / work.rows
        return self.seconds_per_step * (work.steps + _FORWARD * validated / work.tokens_per_step)

    @property
    def seconds_per_step(self) -> float:
        """Of one with the batches that the rows are enough for; with the answers that are sampled for it."""
        if self.reward_probe:
            config = self.config
            answers = config.batch_size * config.grad_accumulation * config.grpo_group_size
            sampling = answers * self.reward_probe.seconds_per_completion / config.grpo_updates
            return sampling + self.memory.seconds * self.work.batches_per_step
        tokens = _computed(self.work.typical) * self.config.grad_accumulation
        return self.memory.seconds * self.work.tokens_per_step / tokens


def make(config: TrainingConfig, method: Method, backend: Backend) -> Plan | None:
    """Find out without training; None if there are no rows yet. UserError for anything else that would stop the run."""
    if not (config.data_dir / files.DATASET_RECORD).exists():
        say(f"No rows in {config.data_dir} yet: steps, memory and time are estimated once dataset.py has written them.")
        return None
    given = read_inputs(config, method.encode, method.columns, weights=config.probe or method.rollouts)
    if method.rollouts:
        return _of_rollouts(config, method, backend, given)
    work = describe(config, method, given)
    conflicts.check_warmup(config, work.steps)
    conflicts.check_validation(config, work.valid_rows)
    conflicts.check_text(config, plain_text=given.dataset.pieces is not None)
    check_scorer(config.scorer, config.scorer_seconds, [row.fields for row in given.valid or given.train])
    if not config.probe:
        say("Measuring a step on some layers of the model ...")
    device = backend.device_memory()  # before anything is in it
    estimate = partial(_estimated, backend, given, method, device.free)
    memory = estimate(config, work.typical, work.largest)
    result = Plan(config, given.folder.name, work, memory, device, None)
    if result.fits:
        return result

    def measure(changed: TrainingConfig) -> float:
        other = describe(changed, method, given)
        return needed_mb(estimate(replace(changed, probe=False), other.typical, other.largest), device)

    return replace(result, remedy=_remedy(config, given, memory, device, measure))


def _estimated(
    backend: Backend,
    given: Inputs,
    method: Method,
    available: float,
    config: TrainingConfig,
    typical: Sequence[TrainingRow],
    largest: Sequence[TrainingRow],
) -> MemoryEstimate:
    path, new = given.folder.path, given.encoder.new_tokens
    with ending():
        return backend.estimate_memory(path, method, config, typical, largest, available, whole=config.probe, new=new)


def _of_rollouts(config: TrainingConfig, method: Method, backend: Backend, given: Inputs) -> Plan:
    """What a few groups of answers say, and a step on as many of the longest answers as are computed at once."""
    steps = total_steps(config, len(given.train))
    conflicts.check_warmup(config, steps)
    conflicts.check_validation(config, len(given.valid))
    device = backend.device_memory()
    task = for_rows(TASKS[given.dataset.type], (row.fields for row in given.train))
    task = with_scorer(task, config.scorer, config.scorer_seconds)
    with open_judge(task, config) as judge:
        model = backend.load(given.folder.path, given.encoder)
        begun = config.from_adapter / backend.FORMAT.file if config.from_adapter else None
        source = RowSource(method, given.train, config)
        trainer = backend.Trainer(model, method, source, config, 1, fingerprint(given.folder.path), begun)
        found = probe_rewards(trainer.sample, given.encoder, given.train, judge, config)
        del model, trainer
    prompts = sorted(given.train, key=lambda row: row.tokens)
    lengths = [prompt.tokens for prompt in prompts]
    size, answer = config.grpo_group_size, round(found.completion_length)

    def batches(prompts: Sequence[TrainingRow], tokens: int) -> list[list[TrainingRow]]:
        return list(packed(dummy_rows(method, prompts, replace(config, grpo_max_tokens=tokens))))

    middle = len(prompts) // 2
    typical = batches(prompts[middle : middle + 64], answer)[0]
    largest = max(batches(prompts[-64:], config.grpo_max_tokens), key=_computed)
    answers = config.batch_size * config.grad_accumulation * size
    say("Measuring a step on some layers of the model ...")
    one = replace(config, grad_accumulation=1)
    memory = _estimated(backend, given, method, device.free, one, typical, largest)
    work = Work(
        rows=len(given.train),
        left_out=given.too_long,
        valid_rows=len(given.valid),
        tokens=sum(lengths),
        learned=answer * size * len(prompts),
        lengths=(lengths[0], lengths[middle], lengths[-1]),
        steps=steps,
        steps_per_epoch=epoch_steps(config, len(prompts)),
        tokens_per_step=answers * (lengths[middle] / size + answer),
        padding=0.0,
        typical=typical,
        largest=largest,
        batches_per_step=found.signal * answers / len(examples_of(typical)),
    )
    return Plan(config, given.folder.name, work, memory, device, None, found)


def describe(config: TrainingConfig, method: Method, given: Inputs) -> Work:
    fitting = [row for row in given.train if row.tokens <= config.max_seq_length]
    rows = dummy_rows(method, fitting, config)
    examples = examples_of(rows)
    lengths = sorted(len(example.tokens) for example in examples)
    steps = total_steps(config, len(fitting))
    per_epoch = epoch_steps(config, len(fitting))
    looked_at = min(steps, _LOOKED_AT * per_epoch)
    order = RowSource(method, rows, config).steps()
    batches = [[rows[at] for at in batch] for step in islice(order, looked_at) for batch in step]
    batches.sort(key=_computed)
    computed = sum(_computed(batch) for batch in batches)
    real = sum(len(example.tokens) - 1 for batch in batches for example in examples_of(batch))
    return Work(
        rows=len(fitting),
        left_out=given.too_long + len(given.train) - len(fitting),
        valid_rows=len(given.valid),
        tokens=sum(lengths),
        learned=sum(sum(example.loss_mask) for example in examples),
        lengths=(lengths[0], lengths[len(lengths) // 2], lengths[-1]),
        steps=steps,
        steps_per_epoch=per_epoch,
        tokens_per_step=computed / looked_at,
        padding=1 - real / computed,
        typical=batches[len(batches) // 2],
        largest=batches[-1],
    )


def _computed(batch: Sequence[TrainingRow]) -> int:
    """Tokens, with the padding up to the longest example."""
    return len(examples_of(batch)) * (max(row.tokens for row in batch) - 1)


def needed_mb(memory: MemoryEstimate, device: DeviceMemory) -> float:
    """With Python, what the device keeps for reuse, and some room because it is an estimate."""
    return _SPARE * memory.peak_mb + device.kept(memory) / 1e6 + _PROCESS_MB


def _remedy(
    config: TrainingConfig,
    given: Inputs,
    memory: MemoryEstimate,
    device: DeviceMemory,
    measure: Callable[[TrainingConfig], float],
) -> Remedy | None:
    """The first of the changes, from the smallest on, with which the run fits; None if none is enough."""
    available = device.free / 1e6
    if _SPARE * memory.static_mb + _PROCESS_MB < available:
        for change, changed in _changes(config, given):
            if (needed := measure(changed)) <= available:
                return Remedy(change, needed)
    share = _QUANTISED_BITS * memory.parameters / 8e6 / memory.weights_mb
    needed = needed_mb(replace(memory, weights_mb=share * memory.weights_mb), device)
    if share < 1 and needed <= available:
        return Remedy(
            f"--model with a 4-bit version of this model (weights: {share:.0%}; on a CPU many times slower)", needed
        )
    return None


def _changes(config: TrainingConfig, given: Inputs) -> Iterator[tuple[str, TrainingConfig]]:
    """First changes that keep the result; then slower ones; then those that skip rows."""
    smaller = [config]
    while (batch := smaller[-1].batch_size) > 1:
        accumulation = -(-config.batch_size * config.grad_accumulation // (batch // 2))
        smaller.append(replace(config, batch_size=batch // 2, grad_accumulation=accumulation))
    for changed in smaller[1:]:
        yield _batches(changed), changed
    if not config.grad_checkpoint:
        for changed in smaller:
            flags = [] if changed is config else [_batches(changed)]
            yield " ".join([*flags, "--grad-checkpoint"]), replace(changed, grad_checkpoint=True)
    least = replace(smaller[-1], grad_checkpoint=True)
    for length in _SHORT_ROWS:
        longer = sum(row.tokens > length for row in given.train)
        if longer < len(given.train) / 2 and length < config.max_seq_length:
            change = f"{_batches(least)} --grad-checkpoint --max-seq-length {length} (skips {longer} rows)"
            yield change, replace(least, max_seq_length=length)


def _batches(config: TrainingConfig) -> str:
    return f"--batch-size {config.batch_size} --grad-accumulation {config.grad_accumulation}"
