"""Compare the tuned model with the base model: both answer the same held-out rows, and the answers are scored.

python test_finetuned.py --adapter-path checkpoints
python test_finetuned.py --adapter-path rl --against checkpoints
python test_finetuned.py --interactive --show-base      chat with both models
python test_finetuned.py --show results                 print the result again
python test_finetuned.py --blind 20                     choose between the answers yourself
"""  # PYTHON_ARGCOMPLETE_OK

from finetune import signals

if __name__ == "__main__":  # before the imports, which take a moment
    signals.exit_at_once()

from finetune import scripts
from finetune.settings.config import EvaluationConfig


def main(config: EvaluationConfig) -> None:
    if config.blind is not None:
        from finetune.evaluation import blind

        blind.run(config)
        return
    from finetune.evaluation.run import run, show_again
    from finetune.evaluation.tuned_run import open_run

    if config.show:
        show_again(config.show)
        return
    tuned = open_run(config.adapter_path)
    if not config.interactive:
        run(tuned, config)
        return
    from finetune.evaluation.chat import chat, demand_template

    demand_template(tuned)
    model = tuned.load()
    models = {"base": model.without_adapter(), "tuned": model} if config.show_base else {"tuned": model}
    chat(models, config.max_tokens, tuned.task.name, tuned.dialect, tuned.system)


if __name__ == "__main__":
    scripts.run(main, EvaluationConfig)
