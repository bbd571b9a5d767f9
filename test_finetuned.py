"""Is the tuned model better than the base model? Both answer the same held-out rows; answers are judged, not admired.

python test_finetuned.py --adapter-path checkpoints
python test_finetuned.py --interactive --show-base      talk to both
"""

from finetune import artifacts, cli
from finetune.config import QUICK_ROWS, EvaluationConfig

_EXAMPLES_SHOWN = 3


def main(config: EvaluationConfig) -> None:
    from finetune import comparison
    from finetune.progress import say

    if config.show_base and not config.interactive:
        raise cli.UserError("--show-base: belongs to the chat (add --interactive)")
    run = comparison.open_run(config.adapter_path)
    if config.interactive:
        from finetune.chat import chat

        base = run.load(tuned=False) if config.show_base else None
        chat(run.load(tuned=True), base, config.max_tokens)
        return

    split = "valid" if config.use_validation else "test"
    num_samples = config.num_samples or (QUICK_ROWS if config.quick_test else None)
    rows = comparison.read_rows(run, config.data_dir or run.data_dir, split, num_samples, config.seed)
    artifacts.make_folder(config.results_dir)
    say(run.backend.describe())
    if config.use_validation:
        say("Note: the validation rows also chose the checkpoint; the test rows did not.")
    record = comparison.compare(run, rows, split, config.max_tokens, base=True)
    artifacts.write_json(config.results_dir / artifacts.EVALUATION, record)
    comparison.print_comparison(record, _EXAMPLES_SHOWN)
    print(f"All answers: {config.results_dir / artifacts.EVALUATION}")


if __name__ == "__main__":
    cli.run(main, EvaluationConfig)
