"""Calls the function ``reward`` of a file: a line {"row": ..., "answer": ...} on stdin, a line {"reward": ...} on stdout.

Run as a script by ``reward_function.py``; imports nothing of this project. What the file prints goes to stderr.
"""

import json
import os
import runpy
import sys
import traceback
from pathlib import Path


def problem(error: BaseException, path: str) -> dict[str, object]:
    """What went wrong, and the last line of the user's file on the way there."""
    if isinstance(error, SyntaxError):
        return {"error": f"SyntaxError: {error.msg}", "line": error.lineno}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return {"error": f"{type(error).__name__}: {error}"[:300], "line": lines[-1] if lines else None}


def main() -> None:
    path = sys.argv[1]
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(path).parent))

    def reply(content: dict[str, object]) -> None:
        replies.write(json.dumps(content, default=repr) + "\n")
        replies.flush()

    try:
        reward = runpy.run_path(path).get("reward")
    except BaseException as error:  # noqa: BLE001  the user has to see it, whatever it is
        reply(problem(error, path))
        return
    if not callable(reward):
        reply({"error": "has no function reward(row, answer)"})
        return
    reply({})
    for line in sys.stdin:
        try:
            request = json.loads(line)
            reply({"reward": reward(request["row"], request["answer"])})
        except Exception as error:  # noqa: BLE001
            reply(problem(error, path))


if __name__ == "__main__":
    main()
