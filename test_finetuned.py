"""Compare the tuned model with the base model: both answer the same held-out rows, and the answers are scored.

python test_finetuned.py --adapter-path checkpoints
python test_finetuned.py --adapter-path rl --against checkpoints
python test_finetuned.py --interactive --show-base      chat with both models
"""  # PYTHON_ARGCOMPLETE_OK

from finetune import scripts
from finetune.records import files
from finetune.settings.config import QUICK_ROWS, EvaluationConfig

_EXAMPLES_SHOWN = 3


def main(config: EvaluationConfig) -> None:
    from finetune.evaluation import compare, scorecard, tuned_run
    from finetune.terminal import say

    run = tuned_run.open_run(config.adapter_path)
    if config.interactive:
        from finetune.evaluation.chat import chat

        tuned = run.load()
        models = {"base": tuned.without_adapter(), "tuned": tuned} if config.show_base else {"tuned": tuned}
        chat(models, config.max_tokens, run.task.name)
        return

    other = tuned_run.open_other(config.against, run) if config.against else None
    split = "valid" if config.use_validation else "test"
    num_samples = config.num_samples or (QUICK_ROWS if config.quick_test else None)
    data_dir = config.data_dir or run.data_dir
    builtin = config.quick_test and config.data_dir is None and not config.use_validation
    if builtin and not (data_dir / files.DATASET_RECORD).exists():
        say(f"Note: {data_dir} is gone; these are builtin rows.")
        rows = tuned_run.default_rows(run, num_samples or QUICK_ROWS, config.seed)
    else:
        rows = tuned_run.read_rows(run, data_dir, split, num_samples, config.seed)
    files.check_targets(config.results_dir, (files.EVALUATION, files.ANSWERS))
    say(run.backend.describe())
    if config.use_validation:
        say("Note: the validation rows also chose the checkpoint; the test rows did not.")
    ask_general = config.general and not config.quick_test
    log = config.results_dir / files.ANSWERS
    record = compare.compare(
        run, rows, split, config.max_tokens, log, other=other, ask_general=ask_general, resume=config.resume
    )
    files.write_json(config.results_dir / files.EVALUATION, record)
    log.unlink(missing_ok=True)
    scorecard.print_comparison(record, _EXAMPLES_SHOWN)
    print(f"All answers: {config.results_dir / files.EVALUATION}")


if __name__ == "__main__":
    scripts.run(main, EvaluationConfig)
