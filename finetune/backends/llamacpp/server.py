"""Starts llama.cpp's server on a GGUF file, and asks it for tokens, prompts and log-probabilities."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UserError, shortened
from finetune.models.conversation import Conversation

if TYPE_CHECKING:
    import numpy as np

REMEDY = "make setup-gguf installs xllamacpp"
_PROGRAM = "llama-server"
_START_SECONDS, _ANSWER_SECONDS = 300, 600
_LOUD = 1e9  # added to a logit, so that a token is chosen whatever the model thinks
_MODULE = "finetune.backends.llamacpp.process"


def found() -> str:
    """What would serve, with its version: "xllamacpp 2026.10.11549" or a path; "" if neither is there."""
    if find_spec("xllamacpp") is not None:
        try:
            return f"xllamacpp {version('xllamacpp')}"
        except PackageNotFoundError:
            return "xllamacpp"
    return shutil.which(_PROGRAM) or ""


def demand() -> str:
    """The same. UserError, with the remedy, if neither is there."""
    if name := found():
        return name
    raise UserError(
        f"--to gguf: neither xllamacpp nor {_PROGRAM} is installed, so the files could not be tried ({REMEDY}; or export"
        " unverified files with --check none)"
    )


@contextmanager
def serving(path: Path, *, context: int, exact: bool = True) -> Iterator["Server"]:
    """llama.cpp with the file ``path`` and room for ``context`` tokens, while the block runs. ``exact``: keys and values stay
    F32. UserError (exit 3) if it does not load the file."""
    with tempfile.TemporaryDirectory(prefix="finetune-llamacpp-") as work:
        log, address = Path(work) / "log", Path(work) / "address"
        asked = {
            "file": str(path.resolve()),
            "context": context,
            "exact": exact,
            "threads": max(1, (os.cpu_count() or 2) // 2) if "OMP_NUM_THREADS" not in os.environ else 1,
            "program": "" if find_spec("xllamacpp") is not None else shutil.which(_PROGRAM),
            "address": str(address),
        }
        root = str(Path(__file__).parents[3])
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        with log.open("wb") as out:
            command = [sys.executable, "-P", "-m", _MODULE]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=variables)
        try:
            _tell(process, asked)
            yield Server(_address(process, address, log, path), path)
        finally:
            process.kill()
            process.wait()


def _tell(process: "subprocess.Popen[bytes]", asked: Mapping[str, object]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    process.stdin.flush()


def _address(process: "subprocess.Popen[bytes]", address: Path, log: Path, path: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while not address.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise UserError(
                f"{path.name}: llama.cpp does not load it: {_reason(log)}. Nothing was written", exit_code=3
            )
        time.sleep(0.02)
    return address.read_text()


def _reason(log: Path) -> str:
    """The line of its log that says most of why it ended."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "assert" in line.lower()]
    return shortened((telling or lines or ["it ended without a word"])[0 if telling else -1], 300)


@dataclass(frozen=True)
class Server:
    """llama.cpp, asked over HTTP. Every question raises UserError (exit 3) if it is not answered."""

    address: str
    path: Path

    def tokens(self, text: str, *, whole_prompt: bool = False) -> list[int]:
        """The ids of a text, special tokens in it included; of a ``whole_prompt`` with what begins it."""
        asked = {"content": text, "add_special": whole_prompt, "parse_special": True}
        return [int(one) for one in self._ask("/tokenize", asked)["tokens"]]

    def prompt(self, conversation: Conversation) -> str:
        """What its chat template makes of a conversation, up to the answer."""
        return str(self._ask("/apply-template", _asked(conversation))["prompt"])

    def prompt_count(self, conversation: Conversation) -> int:
        """How many tokens it counts for the prompt of a conversation."""
        reply = self._ask("/v1/chat/completions", {**_asked(conversation), "max_tokens": 1, "temperature": 0})
        return int(reply["usage"]["prompt_tokens"])

    def logprobs(self, ids: Sequence[int], vocabulary: int) -> "np.ndarray":
        """Natural logarithms of the probabilities of all tokens after ``ids``: float64[vocabulary]

        They are those of the model. The token that is chosen is a letter: of half a character, and of an end, none are given.
        """
        import numpy as np

        asked = {"n_predict": 1, "n_probs": vocabulary, "logit_bias": [[self.tokens("a")[-1], _LOUD]]}
        found = self._ask("/completion", {"prompt": list(ids), **_GREEDY, **asked}).get("completion_probabilities")
        if not found:
            raise UserError(f"{self.path.name}: llama.cpp gives no probabilities. Nothing was written", exit_code=3)
        values = np.full(vocabulary, -np.inf)
        for one in found[0]["top_logprobs"]:
            if one["logprob"] is not None:
                values[one["id"]] = one["logprob"]
        values[~np.isfinite(values)] = min(values[np.isfinite(values)], default=0.0)
        return values

    def ends_at(self, ids: Sequence[int], token: int) -> bool:
        """Whether an answer ends where ``token`` is chosen after ``ids``."""
        asked = {"n_predict": 2, "logit_bias": [[token, _LOUD]]}
        return self._ask("/completion", {"prompt": list(ids), **_GREEDY, **asked}).get("stop_type") == "eos"

    def _ask(self, path: str, asked: Mapping[str, object]) -> Any:
        request = urllib.request.Request(
            self.address + path, json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _OPENER.open(request, timeout=_ANSWER_SECONDS) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            why = shortened(error.read(2000).decode(errors="replace"), 300)
        except (OSError, ValueError) as error:
            why = f"it ended ({error})"
        raise UserError(f"{self.path.name}: llama.cpp does not answer {path}: {why}. Nothing was written", exit_code=3)


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy
_GREEDY = {"temperature": 0, "cache_prompt": False, "samplers": ["top_k"], "top_k": 1}


def _asked(conversation: Conversation) -> dict[str, object]:
    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    return {"messages": list(conversation.messages), **tools}
