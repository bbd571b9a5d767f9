"""One evaluation from the settings to evaluation.json and the tables on the terminal."""

from pathlib import Path

from finetune.errors import UserError
from finetune.evaluation import by_grammar, scorecard
from finetune.evaluation.base_asked import base_asked
from finetune.evaluation.compare import Comparison, compare
from finetune.evaluation.tuned_run import (
    TunedRun,
    answer_limit,
    check_results,
    held_out_rows,
    open_other,
)
from finetune.records import blind, files
from finetune.records.benchmark import BenchmarkRecord
from finetune.records.evaluation import EvaluationRecord
from finetune.records.times import Times
from finetune.settings.config import EvaluationConfig
from finetune.tasks.own_scorer import check_scorer
from finetune.terminal import say, show

_EXAMPLES_SHOWN = 3


def run(tuned: TunedRun, config: EvaluationConfig) -> None:
    """Compare, write evaluation.json and print the result; UserError if a part is missing or cannot be written."""
    other = open_other(config.against, tuned) if config.against else None
    held_out = held_out_rows(tuned, config, quick=config.quick_test)
    restriction = by_grammar.restriction(tuned, held_out, asked=config.restrict)
    check_results(config.results_dir, tuned, held_out.data_dir, EvaluationRecord, (files.EVALUATION,), files.ANSWERS)
    asked = base_asked(tuned, config, held_out.data_dir, held_out.rows)
    check_scorer(config.scorer, config.scorer_seconds, held_out.rows)
    say(tuned.backend.describe())
    if config.use_validation:
        say("Note: the checkpoint was chosen on these validation rows; the test rows are unbiased.")
    by_grammar.tell_cut(tuned, held_out.rows, config.max_tokens)
    log = config.results_dir / files.ANSWERS
    times = Times()
    record = compare(
        Comparison(
            run=tuned,
            rows=held_out.rows,
            split=held_out.split,
            max_tokens=answer_limit(tuned, held_out.rows, config),
            log=log,
            resume=config.resume,
            other=other,
            general=config.general and not config.quick_test,
            scorer=config.scorer,
            scorer_seconds=config.scorer_seconds,
            base_asked=asked,
            times=times,
            **restriction,
        )
    )
    record.write(config.results_dir / files.EVALUATION)
    log.unlink(missing_ok=True)
    scorecard.print_comparison(record, _EXAMPLES_SHOWN, blind.of_evaluation(config.results_dir, record))
    show(f"All answers: {config.results_dir / files.EVALUATION}")
    say(f"Done in {times}.")


def show_again(path: Path) -> None:
    """Print the result in a file that a finished evaluation or benchmark wrote, or in the folder that holds one."""
    if path.is_dir():
        found = [path / name for name in (files.EVALUATION, files.BENCHMARK) if (path / name).is_file()]
        if not found:
            raise UserError(f"--show: {path}: no {files.EVALUATION} in it (run: python test_finetuned.py)")
        path = found[0]
    is_benchmark = "quality" in files.read_json(path, EvaluationRecord.made_by(path.parent))
    record = BenchmarkRecord.read(path).quality if is_benchmark else EvaluationRecord.read(path)
    scorecard.print_comparison(record, _EXAMPLES_SHOWN, blind.of_evaluation(path.parent, record))
