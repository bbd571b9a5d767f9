"""What a run reports, when it stops, and what it knows when it is resumed."""

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.backends.interface import Answer, Step
from finetune.errors import UserError
from finetune.records import files
from finetune.settings.config import TrainingConfig
from finetune.signals import StopRequest
from finetune.tasks import TASKS
from finetune.terminal import Console
from finetune.training import metrics, run
from finetune.training.best import BestAdapters
from finetune.training.session import Session
from finetune.training.state import RunState
from finetune.training.validation import Measure, Watcher

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def step(number: int, loss: float, weight: float, learned: int) -> Step:
    return Step(number, loss, weight, True, 1e-4, [0], learned, learned, 1.0, 100.0)


@pytest.mark.parametrize("weights, loss", [((1, 1), 0.5), ((10, 90), 0.1)], ids=["dpo, by pairs", "sft, by tokens"])
def test_losses_of_several_steps_are_averaged_by_their_weight(weights: tuple[int, int], loss: float) -> None:
    steps = [step(1, 1.0, weights[0], 10), step(2, 0.0, weights[1], 90)]
    assert metrics.report(steps)["loss"] == pytest.approx(loss)


def test_the_state_of_an_older_version_is_read() -> None:
    older: dict[str, Any] = {
        "seconds": 2.5,
        "best_step": 4,
        "best": 0.75,
        "validations": 2,
        "validated": 6,
        "since_best": 1,
        "values": {"start": [0.5], "best": [0.75]},
        "shares": {"rollout": 1.0, "reward": 0.5},
        "collapse": {"first": [{"entropy": 1.0, "length": 8.0, "cut": 0.5}], "last": []},
        "unreported": [],
    }
    state = RunState.read(older)
    assert state.best == BestAdapters(4, 0.75, [0.75], [0.5], 2, 1)
    assert (state.seconds, state.wall_seconds, state.validated) == (2.5, 2.5, 6)
    assert state.seconds_on == {"rollout": 1.0, "reward": 0.5}
    assert state.collapse.first == [{"entropy": 1.0, "completion_length": 8.0, "clipped_ratio": 0.5}]
    assert RunState.read(asdict(state)) == state
    del older["values"], older["validations"]
    assert RunState.read(older).best == BestAdapters(4, 0.75, since=1)


@pytest.mark.parametrize("samples", [{"eval_samples": 1}, {"show_samples": 1}])
def test_a_signal_interrupts_the_answers_of_a_validation(samples: dict[str, int]) -> None:
    asked: list[bool] = []

    def answers(conversations: object, *_: object, stop: Callable[[], bool], **__: object) -> list[object]:
        asked.append(stop())
        return []

    config = TrainingConfig(**{"eval_samples": 0, "show_samples": 0, **samples})
    watcher = Watcher(SimpleNamespace(answers=answers), TASKS["chat"], [ROW], config)  # type: ignore[arg-type]
    assert watcher.observe(lambda: True) is None and asked == [True]


def test_answers_whose_scores_are_interrupted_are_not_kept() -> None:
    asked: list[object] = []

    def answers(conversations: object, on_answer: Callable[[int, Answer], None], **_: object) -> list[object]:
        on_answer(0, Answer("b", 1, True, 0.0))
        asked.append(conversations)  # while the last one was scored, somebody asked to stop
        return [asked]

    config = TrainingConfig(eval_samples=1, show_samples=0)
    watcher = Watcher(SimpleNamespace(answers=answers), TASKS["chat"], [ROW], config)  # type: ignore[arg-type]
    assert watcher.observe(lambda: bool(asked)) is None


def test_a_finished_measurement_stands_if_its_sample_answers_are_interrupted(tmp_path: Path) -> None:
    trainer = SimpleNamespace(
        steps=2,
        position=SimpleNamespace(step=2, batch=0),
        save=lambda folder: {},
        save_adapters=lambda path: path.touch(),
    )
    session = Session(
        config=TrainingConfig(adapter_path=tmp_path, steps_per_eval=2),
        trainer=trainer,  # type: ignore[arg-type]
        measure=Measure("loss", lambda stop, note: (0.25, [])),
        watcher=SimpleNamespace(observe=lambda stop, note: None),  # type: ignore[arg-type]
        metrics=metrics.Metrics(tmp_path, lambda line: None, writes=True),
        lines=[1],
        adapter_file=files.ADAPTERS,
        console=Console(),
        began=time.monotonic(),
    )
    bar = SimpleNamespace(advance=lambda *_, **__: None)
    assert session.validate(bar, lambda: True) and session.ended  # type: ignore[arg-type]
    assert session.state.best.step == 2 and (tmp_path / files.ADAPTERS).exists()


@pytest.mark.parametrize("writes", [False, True], ids=["noticed at the end", "noticed by a write"])
def test_a_folder_that_is_removed_under_a_run_is_named_as_the_reason(tmp_path: Path, writes: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / files.RUN_RECORD).write_text("{}")

    def train(stop: object, on_step: Callable[[Step], bool]) -> None:
        shutil.rmtree(folder)
        if writes:
            on_step(step(1, 1.0, 1, 1))

    with pytest.raises(UserError, match="run: removed while the run was writing to it") as refused:
        run.fit(session_of(folder, train), StopRequest())
    assert refused.value.exit_code == 4 and not folder.exists()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (UserError("the loss is not finite", exit_code=5), "the loss is not finite"),
        (UserError("metrics.jsonl: cannot be written: no space", exit_code=4), "metrics.jsonl: cannot be written"),
        (RuntimeError("of MLX"), "of MLX"),
    ],
)
def test_a_record_that_cannot_be_completed_does_not_hide_why_the_run_ended(
    tmp_path: Path, first: Exception, said: str
) -> None:
    (tmp_path / files.RUN_RECORD).write_text("{damaged")

    def train(stop: object, on_step: object) -> None:
        raise first

    with pytest.raises(type(first), match=said) as ended:
        run.fit(session_of(tmp_path, train), StopRequest())
    assert ended.value is first


@pytest.mark.parametrize(("is_sound", "kept"), [(True, 1), (False, 0)])
def test_the_state_before_an_error_of_the_gpu_is_saved_if_it_is_whole(
    tmp_path: Path, *, is_sound: bool, kept: int
) -> None:
    def train(stop: object, on_step: object) -> None:
        raise RuntimeError("[METAL] Command buffer execution failed: Impacting Interactivity (0000000e:kIOGPU)")

    session = session_of(tmp_path, train)
    trainer: Any = session.trainer
    trainer.is_sound, trainer.save_adapters = is_sound, lambda path: path.write_bytes(b"")
    with pytest.raises(RuntimeError, match="Impacting"):
        run.fit(session, StopRequest())
    assert len(list(tmp_path.glob(f"{files.STATE}/*/{files.STATE_RECORD}"))) == kept


def session_of(folder: Path, train: Callable[..., None]) -> Session:
    """A session whose trainer does nothing but ``train``."""
    trainer = SimpleNamespace(
        train=train, steps=1, position=SimpleNamespace(step=0, batch=0), save=lambda folder: {}, trainable_parameters=1
    )
    session = Session(
        config=TrainingConfig(adapter_path=folder, steps_per_report=1),
        trainer=trainer,  # type: ignore[arg-type]
        measure=None,
        watcher=None,  # type: ignore[arg-type]
        metrics=metrics.Metrics(folder, lambda line: None, writes=True),
        lines=[1],
        adapter_file=files.ADAPTERS,
        console=Console(),
        began=time.monotonic(),
    )
    session.console.progress = lambda *_: nullcontext(SimpleNamespace(advance=lambda *_, **__: None))  # type: ignore
    return session


@pytest.mark.parametrize(
    ("answer", "said"),
    [("b", "accuracy 100.0%"), ("c b", "mean score 0.667 by word overlap only"), ("", "accuracy 0.0%")],
)
def test_the_score_of_a_validation_says_what_it_is(answer: str, said: str) -> None:
    def answers(conversations: object, on_answer: Callable[[int, Answer], None], **_: object) -> list[object]:
        on_answer(0, Answer(answer, 1, True, 0.0))
        return [conversations]

    row = {**ROW, "instruction": "a", "output": "b"}
    config = TrainingConfig(eval_samples=1, show_samples=0)
    watcher = Watcher(SimpleNamespace(answers=answers), TASKS["alpaca"], [row], config)  # type: ignore[arg-type]
    seen = watcher.observe(lambda: False)
    assert seen and seen.scored == said
