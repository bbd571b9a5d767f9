"""mlx-lm's own LoRA settings (``mlx_lm.lora -c FILE``) read as ours.

The file describes a run of mlx-lm, so a missing key has mlx-lm's default, not ours. A key without a counterpart here is
refused by name, unless it changes nothing. Two differences cannot be expressed in a file: Adam always corrects its bias
here, and rows that are too long are skipped, not truncated.
"""

from collections.abc import Mapping
from pathlib import Path

from finetune.errors import UserError, path_of, shortened
from finetune.settings.config_file import unknown
from finetune.settings.fields import Given, Layer, converted, plain
from finetune.settings.yaml_file import Entry

SAME = {  # name of mlx-lm -> ours, where the values mean the same
    "model": "model",
    "fine_tune_type": "fine_tune_type",
    "optimizer": "optimizer",
    "seed": "seed",
    "batch_size": "batch_size",
    "adapter_path": "adapter_path",
    "max_seq_length": "max_seq_length",
    "grad_checkpoint": "grad_checkpoint",
}
BATCHES = {  # mlx-lm counts batches, we count optimizer steps
    "iters": "iters",
    "steps_per_report": "steps_per_report",
    "steps_per_eval": "steps_per_eval",
    "save_every": "steps_per_save",
}
LORA = {"rank": "lora_rank", "scale": "lora_scale", "dropout": "lora_dropout"}
NO_CLIPPING = 1e6  # mlx-lm does not clip gradients
_DEFAULTS: dict[str, object] = {  # of mlx-lm 0.32
    "model": "Qwen/Qwen3-0.6b",
    "fine_tune_type": "lora",
    "optimizer": "adam",
    "data": "mlx-community/WikiSQL",
    "seed": 0,
    "num_layers": 16,
    "batch_size": 4,
    "iters": 1000,
    "learning_rate": 1e-5,
    "steps_per_report": 10,
    "steps_per_eval": 200,
    "adapter_path": "adapters",
    "save_every": 100,
    "max_seq_length": 2048,
    "grad_checkpoint": False,
    "grad_accumulation_steps": 1,
    "rank": 8,
    "scale": 20.0,
    "dropout": 0.0,
}
_WEIGHT_DECAY = {"adamw": 0.01, "muon": 0.01, "sgd": 0.0, "adafactor": 0.0}  # of MLX; Adam has none
# of each optimizer, what has to stand in optimizer_config for the optimizer to be ours, and what may
_OURS = {"adafactor": {"relative_step": False, "scale_parameter": False}}
_MAY = {"adam": {"bias_correction": True}, "adamw": {"bias_correction": True}, **_OURS}

_SCHEDULES = {  # mlx-lm's name -> ours, and its arguments
    "cosine_decay": ("cosine", "[peak, steps, end]"),
    "linear_schedule": ("linear", "[peak, end, steps]"),
}
_IDLE = {"train", "test_batches", "clear_cache_threshold", "project_name"}  # change nothing here
# what else can stand there, and what to do if another value does
_ALLOWED: dict[str, tuple[tuple[object, ...], str]] = {
    "test": ((False,), "evaluate with test_finetuned.py"),
    "val_batches": (("25", "-1"), "every validation uses all rows"),
    "resume_adapter_file": ((), "resume with --resume, or continue from adapters with --from-adapter"),
    "config": ((), "omit it"),
    "hf_dataset": ((), "read rows from the Hub with python dataset.py --dataset-name"),
    "trust_remote_code": ((False,), "code from a model's repository is never run"),
    "report_to": (("wandb",), "use --report-to; its help lists the tools"),
    "mask_prompt": ((True,), "the loss mask always covers the prompt: mask_prompt: true"),
}
_NESTED = {"lora_parameters": (*LORA, "keys"), "lr_schedule": ("name", "arguments", "warmup", "warmup_init")}
_KNOWN = [name for name in _DEFAULTS if name not in LORA] + [*_IDLE, *_ALLOWED, *_NESTED, "optimizer_config"]
_MARKS = set(_KNOWN) - SAME.keys() - {"train", "test", "config", "report_to", "iters", "learning_rate"}
_MARKS -= {"steps_per_report", "steps_per_eval"}


def recognised(document: Entry) -> bool:
    """Whether the file is one of mlx-lm: by a name that only it has, or by ``train: true``; to us that is a section."""
    switches = [document.value[name].value for name in ("train", "test") if name in document.value]
    return bool(_MARKS & document.value.keys()) or any(isinstance(value, bool) for value in switches)


def layers(path: Path, document: Entry, explicit: Mapping[str, object]) -> list[Layer]:
    """What the file says, and below it mlx-lm's defaults. UserError, with the line, for what has no counterpart here.

    ``explicit`` are the flags: --data-dir stands in for rows of the Hub.
    """
    for unheard in ("quick_test", "conservative", "profile"):
        if explicit.get(unheard):
            name = "--" + unheard.replace("_", "-")
            raise UserError(f"{name} has no effect with {path}, a config file for mlx_lm.lora (omit one of the two)")
    values = _File(path, document).values(has_rows="data_dir" in explicit)
    said = {name: value for name, value in values.items() if isinstance(value, Given)}
    unsaid = {name: value for name, value in values.items() if name not in said}
    return [(f"{path} (mlx-lm)", said), ("mlx-lm's default", unsaid)]


class _File:
    def __init__(self, path: Path, document: Entry):
        self._path, self._entries = path, dict(document.value)
        for key, entry in self._entries.items():
            if key not in _KNOWN:
                raise unknown(
                    path, key, entry.line, _KNOWN, "not a setting of mlx_lm.lora, for which this file was written"
                )
            if key in _ALLOWED and entry.value is not None and entry.value not in _ALLOWED[key][0]:
                raise self._refusal(key, f"not supported ({_ALLOWED[key][1]})")
        said = self._entries.get("mask_prompt")
        if said is None or said.value is None:
            place = f"{path}:{said.line}: mask_prompt" if said else path
            raise UserError(
                f"{place}: mlx-lm's default, a loss on prompts too, is not supported (add mask_prompt: true)"
            )

    def values(self, *, has_rows: bool) -> dict[str, object]:
        """By our names; ``Given`` if the file says it, bare if it is mlx-lm's default."""
        values = {ours: self._get(name) for name, ours in SAME.items()}
        optimizer = str(plain(values["optimizer"])).lower()
        values["optimizer"] = _with(values["optimizer"], optimizer)
        accumulation = self._whole("grad_accumulation_steps")
        if accumulation < 1:
            raise self._refusal("grad_accumulation_steps", "too small (at least 1)")
        values["grad_accumulation"] = self._get("grad_accumulation_steps")
        for name, ours in BATCHES.items():
            steps = self._whole(name) // accumulation
            values[ours] = _with(self._get(name), str(steps if name == "iters" else max(steps, 1)))
        layers = self._whole("num_layers")
        values["lora_layers"] = _with(self._get("num_layers"), str(layers) if layers > 0 else None)
        values |= {"max_grad_norm": NO_CLIPPING, **self._optimizer_config(optimizer)}
        values |= self._learning_rate(self._whole("iters") // accumulation)
        if plain(values["fine_tune_type"]) != "full":
            values |= self._lora()
        if "report_to" in self._entries:
            values["report_to"] = self._get("report_to")
        if not has_rows:
            values["data_dir"] = self._rows()
        return values

    def _get(self, name: str) -> object:
        if name not in self._entries or (entry := self._entries[name]).value is None:
            return _DEFAULTS.get(name)
        if isinstance(entry.value, list | dict):
            raise self._refusal(name, "not a plain value")
        return Given(entry.value, f"{self._path}:{entry.line}: {name}")

    def _whole(self, name: str) -> int:
        value = self._get(name)
        whole = converted(int, plain(value), value.place if isinstance(value, Given) else name)
        assert isinstance(whole, int)
        return whole

    def _number(self, name: str, entry: Entry) -> float:
        number = converted(float, entry.value, f"{self._path}:{entry.line}: {name}")
        assert isinstance(number, float)
        return number

    def _refusal(self, name: str, why: str) -> UserError:
        entry = self._entries[name]
        value = str(entry.value).lower() if isinstance(entry.value, bool) else str(entry.value)
        shown = "" if isinstance(entry.value, list | dict) else f": {shortened(value)}"
        return UserError(f"{self._path}:{entry.line}: {name}{shown}: {why}")

    def _rows(self) -> Given:
        rows = self._get("data")
        given = rows if isinstance(rows, Given) else Given(rows, f"{self._path}: data")
        if not path_of(str(given.value), given.place).is_dir():
            raise UserError(
                f"{given.place}: {shortened(str(given.value))} is not a folder"
                " (rows of the Hub: python dataset.py --dataset-name NAME, then --data-dir data)"
            )
        return given

    def _part(self, name: str) -> dict[str, Entry]:
        """A mapping in the file, whose keys are checked; empty if it is missing."""
        entry = self._entries.get(name)
        if entry is None or entry.value is None:
            return {}
        if not isinstance(entry.value, dict):
            raise self._refusal(name, "not a mapping")
        for key, inner in entry.value.items():
            if name in _NESTED and key not in _NESTED[name]:
                raise unknown(self._path, f"{name}.{key}", inner.line, [f"{name}.{known}" for known in _NESTED[name]])
        return dict(entry.value)

    def _lora(self) -> dict[str, object]:
        part = self._part("lora_parameters")
        values: dict[str, object] = {"lora_modules": "all"}
        for name, ours in LORA.items():
            if part and name not in part:
                raise self._refusal("lora_parameters", f"{name} is missing, which mlx-lm requires")
            place = f"{self._path}:{part[name].line}: lora_parameters.{name}" if part else ""
            values[ours] = Given(part[name].value, place) if part else _DEFAULTS[name]
        keys = part.get("keys")
        if keys and keys.value is not None:
            if not isinstance(keys.value, list) or not all(isinstance(key.value, str) for key in keys.value):
                raise UserError(f"{self._path}:{keys.line}: lora_parameters.keys: not a list of names")
            modules = ",".join(dict.fromkeys(key.value for key in keys.value))
            values["lora_modules"] = Given(modules, f"{self._path}:{keys.line}: lora_parameters.keys")
        return values

    def _optimizer_config(self, optimizer: str) -> dict[str, object]:
        part = self._part("optimizer_config").get(optimizer)
        if part and not isinstance(part.value, dict | None):
            raise self._refusal("optimizer_config", f"{optimizer} is not a mapping")
        said: dict[str, Entry] = part.value or {} if part else {}
        for name, entry in said.items():
            allowed = _MAY.get(optimizer, {})
            if not (name == "weight_decay" and optimizer in _WEIGHT_DECAY) and entry.value is not allowed.get(name, ""):
                place = f"{self._path}:{entry.line}: optimizer_config.{shortened(f'{optimizer}.{name}')}"
                raise UserError(f"{place}: {'this value is ' if name in allowed else ''}not supported")
        for name, wanted in _OURS.get(optimizer, {}).items():
            if name not in said:
                text = f"optimizer_config: {{{optimizer}: {{{name}: {str(wanted).lower()}}}}}"
                raise UserError(
                    f"{self._path}: optimizer {optimizer} uses another {name} here (to accept it, write {text})"
                )
        if optimizer not in _WEIGHT_DECAY:
            return {}
        if decay := said.get("weight_decay"):
            place = f"{self._path}:{decay.line}: optimizer_config.{optimizer}.weight_decay"
            return {"weight_decay": Given(decay.value, place)}
        return {"weight_decay": _WEIGHT_DECAY[optimizer]}

    def _learning_rate(self, steps: int) -> dict[str, object]:
        """Peak, warm-up and schedule; mlx-lm takes ``learning_rate`` only if there is no ``lr_schedule``."""
        part = self._part("lr_schedule")
        if not part:
            return {"learning_rate": self._get("learning_rate"), "schedule": "constant", "warmup": 0}
        name = part["name"].value if "name" in part else None
        if not isinstance(name, str) or name not in _SCHEDULES:
            shown = f"unknown schedule {shortened(name)!r}" if isinstance(name, str) else "no name"
            raise self._refusal("lr_schedule", f"{shown} (choose from {', '.join(_SCHEDULES)})")
        schedule, wanted = _SCHEDULES[name]
        arguments = part["arguments"].value if "arguments" in part else None
        if not isinstance(arguments, list) or not (2 if schedule == "cosine" else 3) <= len(arguments) <= 3:
            raise self._refusal("lr_schedule", f"arguments of {name} must be a list: {wanted}")
        peak, *rest = [self._number("lr_schedule.arguments", argument) for argument in arguments]
        if schedule == "cosine":
            length, end = rest[0], rest[1] if len(rest) > 1 else 0.0
        else:
            end, length = rest
            if end == peak:
                schedule, end = "constant", 0.0
        warmup = self._number("lr_schedule.warmup", part["warmup"]) if "warmup" in part else 0
        start = self._number("lr_schedule.warmup_init", part["warmup_init"]) if "warmup_init" in part else 0.0
        if end != 0:
            raise self._refusal("lr_schedule", f"ends at {end:g}, but schedules here end at 0")
        # the whole run, or what the warm-up leaves of it
        if schedule != "constant" and not steps - warmup - 2 <= length <= steps + 2:
            raise self._refusal(
                "lr_schedule", f"ends after {length:g} steps; schedules here end with the run, {steps} steps"
            )
        if warmup and start > 1.01 * peak / (warmup + 1):
            raise self._refusal(
                "lr_schedule", f"warmup_init {start:g}: warmup here starts at the peak divided by the warmup steps"
            )
        place = f"{self._path}:{self._entries['lr_schedule'].line}: lr_schedule"
        rate = {"learning_rate": peak, "schedule": schedule, "warmup": warmup}
        return {name: Given(value, place) for name, value in rate.items()}


def _with(value: object, other: object) -> object:
    """``other`` with the place of ``value``, if it has one."""
    return Given(other, value.place) if isinstance(value, Given) else other
