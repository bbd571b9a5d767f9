"""Judges model-written SQL by running it: in a killable process, on three databases, against gold."""

from finetune.tasks.sql.judging.answer import extract_sql
from finetune.tasks.sql.judging.checking import Checking
from finetune.tasks.sql.judging.foreign import ForeignJudge
from finetune.tasks.sql.judging.judge import ANSWER_KINDS, UNSCORED_KINDS, Judgement, SqlJudge
from finetune.tasks.sql.judging.reference import gold_problem

__all__ = [
    "ANSWER_KINDS",
    "UNSCORED_KINDS",
    "Checking",
    "ForeignJudge",
    "Judgement",
    "SqlJudge",
    "extract_sql",
    "gold_problem",
]
