"""The builtin rows are the same in every version: a run can be repeated, and compared with one of an earlier version."""

import hashlib
import json

import pytest

from finetune.records.files import SPLITS
from finetune.tasks import TASKS


@pytest.mark.parametrize(
    ("name", "digest"),
    [("sql", "b1e7b9cb96bc8561"), ("alpaca", "655f8b021097eaca"), ("riscv", "c21353f1fa008e90")],
)
def test_the_rows_of_a_seed_never_change(name: str, digest: str) -> None:
    """On any version of Python and with any PYTHONHASHSEED. Evaluations of different rows cannot be compared."""
    builtin = TASKS[name].builtin
    assert builtin
    rows = builtin(dict.fromkeys(SPLITS, 500), 0)
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == digest
    assert builtin(dict.fromkeys(SPLITS, 20), 1) != builtin(dict.fromkeys(SPLITS, 20), 0)
