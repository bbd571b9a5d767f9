"""Convert LoRA and DoRA adapters from MLX to PEFT or back. The result is checked in both libraries before it is kept.

python -m finetune convert-adapter checkpoints --to peft --output peft_adapter
python -m finetune convert-adapter peft_adapter --to mlx --output mlx_adapter --model NAME
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.errors import shell_command
from finetune.export.adapters.convert import FORMATS, Conversion, convert_adapter
from finetune.settings.fields import option
from finetune.terminal import say, show

CHOICES = {"formats": FORMATS}


@dataclass(frozen=True)
class Config:
    """The command line of ``python -m finetune convert-adapter``."""

    source: Path = option(None, "folder of the adapter", positional=True)
    to: str = option(None, "format to convert to", choices="formats", required=True)
    output: Path = option(None, "folder to write, new or empty", required=True)
    model: str | None = option(
        None, "base model: a folder, a Hub name, builtin or a .gguf file (default: the one that the adapter names)"
    )


def main(config: Config) -> None:
    """Convert, and print what was converted, how well the libraries agree, and how to use the result."""
    done = convert_adapter(config.source, config.to, config.output, config.model, say)
    effect = f"the adapter changes them by {done.agreement.effect:.2g}"
    if done.changes_nothing:
        effect = "the adapter changes nothing"
    show(f"{done.adapter}: {config.source} converted to {FORMATS[config.to].title}")
    show(
        f"Largest difference between the logits of PEFT and MLX, both in float32: {done.agreement.difference:.1e}"
        f" standard deviations; {effect}."
    )
    show(f"Use it: {_use(config, done)}")
    if done.of_a_run and not done.adapter.embeddings:
        show(f"Or: {shell_command('python', 'test_finetuned.py', '--adapter-path', config.output)}")


def _use(config: Config, done: Conversion) -> str:
    if config.to == "mlx":
        flags = ("--model", done.base, "--adapter-path", config.output)
        return shell_command("python", "-m", "mlx_lm", "generate", *flags, "--prompt", "...")
    if done.adapter.embeddings and done.adapter.embeddings.count:
        return f"AutoPeftModelForCausalLM.from_pretrained({str(config.output)!r}), with the tokenizer in that folder"
    return f"PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({done.base!r}), {str(config.output)!r})"
