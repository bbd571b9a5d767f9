"""A Hub on 127.0.0.1 whose answers are damaged. ``python damaged_hub.py COUNT SEED`` downloads from it, COUNT times."""

import json
import os
import random
import shutil
import socketserver
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from loopback_hub import LoopbackHub, _Handler

STATUSES = (200, 204, 206, 301, 302, 307, 400, 401, 403, 404, 407, 416, 429, 451, 500, 502, 503, 504, 511, 999)
VALUES = (
    None,
    True,
    -1,
    1e400,
    10**30,
    "",
    "x\x1b[31m",
    "../../../../evil",
    "/evil",
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    "9" * 5000,
)
TEXTS = (
    b"",
    b"<html>log in</html>",
    b"[" * 100_000,
    b"null",
    b"5",
    b"[]",
    b"{}",
    b"[null]",
    b"NaN",
    b"\xff\xfe\0",
    b'{"sha"',
)
HEADERS = {
    "Content-Type": ("text/html", "application/json", "x" * 5000, "text/plain; charset=evil"),
    "Content-Length": ("0", "3", "-1", "abc", "99999999999"),
    "Content-Encoding": ("gzip", "br", "evil"),
    "Transfer-Encoding": ("chunked", "evil"),
    "Content-Range": ("bytes 0-1/evil", "x"),
    "Location": ("/", "http://[::1", "http://127.0.0.1:1/api/", "//", "\x01", "/api/models/owner/name/auth-check"),
    "Link": ('<http://127.0.0.1:1/api/next>; rel="next"', '</api/x>; rel="next"', "<>; rel=next", "evil"),
    "Retry-After": ("0", "100000", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400),
    "RateLimit": ('"api";r=0;t=99999', '"api";r=0;t=x'),
    "ETag": ("", '"../../../../evil"', '"/evil"', 'W/"x"', "\x1b[31m"),
    "X-Repo-Commit": ("", "../../../../evil", "main", "0" * 40),
    "X-Error-Code": ("RepoNotFound", "GatedRepo", "EntryNotFound", "RevisionNotFound", "evil"),
    "X-Error-Message": ("Access to this resource is disabled.", "\x1b[31m"),
    "X-Linked-Size": ("abc", "-1", "5"),
    "X-HF-Warning": ("evil; \x1b[31m", ";"),
}


class RawHub:
    """``with RawHub(replies) as hub:`` sends ``replies[NAME]`` to each request for owner/NAME, and ends the connection.

    To auth-check it answers that all is well, unless NAME begins with "all-". A list of replies is sent with pauses.
    """

    def __init__(self, replies: dict[str, bytes | list[bytes]]):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                path = self.rfile.readline().split()[1].decode()
                while self.rfile.readline().strip():
                    pass
                name = path.partition("owner/")[2].partition("/")[0]
                is_open = path.endswith("/auth-check") and not name.startswith("all-")
                reply = (
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" if is_open else replies[name]
                )
                for part in [reply] if isinstance(reply, bytes) else reply:
                    self.wfile.write(part)
                    time.sleep(0 if isinstance(reply, bytes) else 0.1)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """The client has gone."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    __enter__ = LoopbackHub.__enter__

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Damaged(_Handler):
    chance = random.Random()
    share = 0.3

    def _send(self, status: int, data: bytes, headers: dict[str, str], half: bool = False) -> None:
        chance = self.chance
        if chance.random() > self.share:
            super()._send(status, data, headers, half)
            return
        headers = {"Content-Length": str(len(data)), **headers}
        kind = chance.randrange(8)
        if kind == 0:
            status = chance.choice(STATUSES)
        elif kind == 1:
            data = chance.choice(TEXTS)
        elif kind == 2:
            data = data[: chance.randrange(len(data) + 1)]
        elif kind == 3 and data[:1] in (b"{", b"["):
            data = json.dumps(_mutated(json.loads(data), chance)).encode()
        elif kind == 4 and data:
            flipped = bytearray(data)
            flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            data = bytes(flipped)
        elif kind == 5:
            self.wfile.write(bytes(chance.randrange(256) for _ in range(chance.randrange(200))))
            self.close_connection = True
            return
        if kind in (1, 2, 3):
            headers["Content-Length"] = str(len(data))
        for name in chance.sample(list(HEADERS), chance.choice((0, 0, 1, 2)) + (kind > 5)):
            headers[name] = chance.choice(HEADERS[name])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.close_connection = True


def _mutated(value: Any, chance: random.Random) -> Any:
    """The value with one part of it replaced or removed."""
    if not value or not isinstance(value, dict | list) or chance.random() < 0.2:
        return chance.choice(VALUES)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        return [_mutated(part, chance) if at == place else part for at, part in enumerate(value)]
    name = chance.choice(list(value))
    rest = {key: part for key, part in value.items() if key != name}
    return rest if chance.random() < 0.2 else {**rest, name: _mutated(value[name], chance)}


def main(count: int, seed: int) -> None:
    """Print, as JSON, what came of it: how often which outcome, and what should not have happened."""
    work = Path(tempfile.mkdtemp())
    for kind in ("owner/name", "datasets/owner/name"):
        (work / "hub" / kind).mkdir(parents=True)
        (work / "hub" / kind / "README.md").write_text("---\nlicense: mit\n---\n")
        (work / "hub" / kind / "train.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    handler = _Damaged
    handler.chance = random.Random(seed)
    server = LoopbackHub(work / "hub")
    server._server.RequestHandlerClass = type("Handler", (handler,), {"root": work / "hub", "gated": (), "cut": ()})
    server._server.handle_error = lambda *_: None  # type: ignore[method-assign]
    os.environ |= {"HF_ENDPOINT": server.url, "HF_HOME": str(work / "a/b/c/d/home"), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    wrong, counts = list[str](), dict[str, int]()
    threading.excepthook = lambda args: wrong.append(f"thread: {args.exc_type.__name__}: {args.exc_value}")
    from finetune.dataset.hub_rows import read_hub
    from finetune.errors import UserError
    from finetune.models.hub import download_snapshot

    time.sleep = lambda seconds: None  # what the client waits before it tries again
    with server:
        before = sorted(path for path in work.rglob("*") if "home" not in path.parts)
        for number in range(count):
            shutil.rmtree(work / "a/b/c/d/home", ignore_errors=True)
            begin = time.monotonic()
            try:
                if number % 4:
                    download_snapshot("owner/name", "dataset" if number % 2 else "model")
                else:
                    list(read_hub("owner/name", None, None, keep_splits=False).rows)
                outcome = "works"
            except UserError as error:
                outcome = str(error).partition(": ")[2].split(":")[0][:60]
                if "\n" in str(error) or "127.0.0.1" in outcome or error.exit_code not in (2, 4):
                    wrong.append(f"{number}: {error}")
            except Exception as error:  # noqa: BLE001  that is what is looked for
                wrong.append(f"{number}: {type(error).__name__}: {error}")
            counts[outcome] = counts.get(outcome, 0) + 1
            if (took := time.monotonic() - begin) > 20:
                wrong.append(f"{number}: took {took:.0f} s")
            if number % 100 == 99 or number == count - 1:
                after = {path for path in work.rglob("*") if "home" not in path.parts and path.name not in "abcd"}
                wrong += [f"{number}: wrote {path}" for path in after - set(before)]
    shutil.rmtree(work)
    print(json.dumps([counts, wrong], indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
