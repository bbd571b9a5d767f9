"""What is measured does not depend on what is only estimated."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.benchmark.measure import estimated_peak
from finetune.errors import UserError
from finetune.methods import METHODS
from finetune.settings.config import TrainingConfig


def test_a_plan_that_fails_does_not_end_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    def refuses(*given: Any, **named: Any) -> Any:
        raise UserError("folder: only 1 GB is free")

    def peak(backend: Any) -> float | None:
        backend.device_memory = lambda: SimpleNamespace(free=1)
        return estimated_peak(backend, Path("folder"), METHODS["sft"], TrainingConfig(), [])

    assert peak(SimpleNamespace(estimate_memory=refuses)) is None
    assert "no estimate of the training step: folder: only 1 GB is free" in capsys.readouterr().err
    assert peak(SimpleNamespace(estimate_memory=lambda *given, **named: SimpleNamespace(peak_mb=7.0))) == 7.0
