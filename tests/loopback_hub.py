"""A small Hugging Face Hub on 127.0.0.1, for the real clients: huggingface_hub and datasets.

``LoopbackHub(root)`` serves the models in root/OWNER/NAME and the datasets in root/datasets/OWNER/NAME.
The repositories in ``gated`` open to GOOD_TOKEN only. Of the files named in ``cut`` half the bytes come.
The requests named in ``failing``, such as tree, are answered with 503.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GOOD_TOKEN = "hf_good"
EXPIRED_TOKEN = "hf_expired"


class LoopbackHub:
    """``with LoopbackHub(root) as hub:`` serves until the block ends; ``hub.url`` is the HF_ENDPOINT."""

    def __init__(
        self, root: Path, gated: tuple[str, ...] = (), cut: tuple[str, ...] = (), failing: tuple[str, ...] = ()
    ):
        handler = type("Handler", (_Handler,), {"root": root, "gated": gated, "cut": cut, "failing": failing})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    gated: tuple[str, ...]
    cut: tuple[str, ...]
    failing: tuple[str, ...] = ()
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms between its head and its body

    def do_GET(self) -> None:
        """/api/models/OWNER/NAME/ACTION/..., /OWNER/NAME/resolve/COMMIT/FILE, and with datasets/ the same."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        is_api = parts[0] == "api"
        kind = parts[is_api] if parts[is_api] in ("models", "datasets") else ""
        repo_id = "/".join(parts[is_api + bool(kind) :][:2])
        action, _, *below = [*parts[is_api + bool(kind) + 2 :], "", ""]
        path = "/".join(filter(None, below))

        folder = self.root / ("datasets" if kind == "datasets" else "") / repo_id
        entries = _entries(folder)
        if not entries:
            self._error(404 if self._token() else 401, "RepoNotFound")
        elif action in ("auth-check", "resolve") and (refusal := self._refusal(repo_id)):
            self._error(*refusal)
        elif action in self.failing:
            self._error(503, "", "x\x1b[31m")
        elif action == "resolve":
            self._file(repo_id, folder / path)
        elif action == "paths-info":
            asked = parse_qs(body).get("paths", [])
            self._json([entry for entry in entries if entry["path"] in asked])
        elif action == "tree":
            is_recursive = parse_qs(url.query).get("recursive", [""])[0].lower() == "true"
            here = [entry for entry in entries if f"/{entry['path']}".startswith(f"/{path}/" if path else "/")]
            depth = path.count("/") + bool(path)
            self._json([entry for entry in here if is_recursive or entry["path"].count("/") == depth])
        else:
            siblings = [{"rfilename": entry["path"]} for entry in entries if entry["type"] == "file"]
            self._json({"id": repo_id, "sha": _commit(repo_id), "siblings": siblings, "tags": []})

    do_HEAD = do_POST = do_GET

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _refusal(self, repo_id: str) -> tuple[int, str, str] | None:
        if self._token() == EXPIRED_TOKEN:
            return 401, "", "Invalid credentials in Authorization header"
        if repo_id in self.gated and self._token() != GOOD_TOKEN:
            return 403 if self._token() else 401, "GatedRepo", ""
        return None

    def _file(self, repo_id: str, path: Path) -> None:
        if not path.is_file():
            return self._error(404, "EntryNotFound")
        data = path.read_bytes()
        blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data)  # as git names a file
        headers = {"X-Repo-Commit": _commit(repo_id), "ETag": f'"{blob.hexdigest()}"'}
        return self._send(200, data, headers, half=path.name in self.cut and self.command == "GET")

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str = "") -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, data: bytes, headers: dict[str, str], half: bool = False) -> None:
        data = data[: len(data) // 2] if half else data
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the tests have their own output."""


def _commit(repo_id: str) -> str:
    return hashlib.sha1(repo_id.encode()).hexdigest()


def _entries(folder: Path) -> list[dict[str, Any]]:
    """What the Hub lists of a repository: every file and folder in it."""
    return [
        {
            "type": "file" if path.is_file() else "directory",
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size if path.is_file() else 0,
            "oid": hashlib.sha1(path.read_bytes() if path.is_file() else b"").hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
    ]
