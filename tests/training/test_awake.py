"""A Mac stays awake for as long as a run lasts, and no longer."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from finetune.training.awake import awake

CAFFEINATE = '#!/bin/sh\necho "$@" > "$0.said"; exec sleep 60\n'


def test_caffeinate_runs_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = tmp_path / "caffeinate", tmp_path / "caffeinate.said"
    program.write_text(CAFFEINATE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ZeroDivisionError), awake():
        end = time.monotonic() + 10
        while not (said.exists() and said.read_text()) and time.monotonic() < end:
            time.sleep(0.01)
        raise ZeroDivisionError
    assert said.read_text() == f"-i -w {os.getpid()}\n"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with awake():  # not there
        pass
