"""One evaluation from the settings to evaluation.json and the tables on the terminal."""

from finetune.evaluation import scorecard
from finetune.evaluation.compare import Comparison, compare
from finetune.evaluation.tuned_run import TunedRun, check_results, held_out_rows, open_other, restriction_rows
from finetune.records import blind, files
from finetune.records.evaluation import EvaluationRecord
from finetune.settings.config import EvaluationConfig
from finetune.terminal import say, show

_EXAMPLES_SHOWN = 3


def run(tuned: TunedRun, config: EvaluationConfig) -> None:
    """Compare, write evaluation.json and print the result; UserError if a part is missing or cannot be written."""
    other = open_other(config.against, tuned) if config.against else None
    held_out = held_out_rows(tuned, config, quick=config.quick_test)
    valid = restriction_rows(tuned, held_out) if config.restrict else []
    check_results(config.results_dir, tuned, held_out.data_dir, EvaluationRecord, (files.EVALUATION,), files.ANSWERS)
    say(tuned.backend.describe())
    if config.use_validation:
        say("Note: the checkpoint was chosen on these validation rows; the test rows are unbiased.")
    log = config.results_dir / files.ANSWERS
    record = compare(
        Comparison(
            run=tuned,
            rows=held_out.rows,
            split=held_out.split,
            max_tokens=config.max_tokens,
            log=log,
            resume=config.resume,
            other=other,
            general=config.general and not config.quick_test,
            restrict=config.restrict,
            valid=valid,
        )
    )
    record.write(config.results_dir / files.EVALUATION)
    log.unlink(missing_ok=True)
    scorecard.print_comparison(record, _EXAMPLES_SHOWN, blind.of_evaluation(config.results_dir, record))
    show(f"All answers: {config.results_dir / files.EVALUATION}")
