"""A Mac that nobody uses falls asleep, and its run stands still: caffeinate keeps it awake for as long as the run lasts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def awake() -> Iterator[None]:
    """Keep a Mac from falling asleep by itself during the block, also if this process is killed in it; nothing elsewhere.

    A closed lid and an empty battery still end it; ``--resume`` goes on.
    """
    if sys.platform != "darwin":
        yield
        return
    try:
        process = subprocess.Popen(
            ["caffeinate", "-i", "-w", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # control-C is for the run
        )
    except OSError:  # a run without it is a run all the same
        yield
        return
    try:
        yield
    finally:
        process.terminate()
        process.wait()
