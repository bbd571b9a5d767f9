"""The HTTP client that the Hub's client works with: it trusts no answer, and waits for none without end.

Imported only where the Hub is asked: httpx2 and huggingface_hub are heavy.
"""

import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore2
import httpx2
from huggingface_hub import constants, get_session, get_token, hf_raise_for_status, set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook

from finetune.errors import visible, without_secrets
from finetune.settings import environment

_LONGEST_WAIT = 60  # seconds that a server may ask for
_MOST_ANSWERS = 20_000  # of the Hub's API in a process: a list of files can lead from page to page without end
_LEAST_RATE = 20  # bytes per second; slower is a server that keeps us waiting on purpose
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SCHEME = re.compile(r"^((https?|socks5h?)://)?", re.IGNORECASE)  # without one it is http
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Unusable(Exception):
    """No request can be sent: the message is a clause with the reason, and what to do."""


class NotTheHub(Exception):
    """Somebody else has answered, such as the login page of a network, or the answer is damaged."""


class TooSlow(Exception):
    """Nearly nothing arrives any more."""


@cache
def prepare() -> None:
    """Have the Hub's client send its requests with ours, and clean what it logs. Once for a process."""
    set_client_factory(_client)
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_cleaned)


def open_session() -> None:
    """Unusable if the proxies, the certificates or the token that were set up cannot be used."""
    get_session()
    try:
        get_token()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise Unusable(f"{constants.HF_TOKEN_PATH} cannot be read: {reason}: remove it, or set HF_TOKEN") from None


def _client() -> httpx2.Client:
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [hf_request_event_hook], "response": [_check]}
    proxies = {name: text for name, text in os.environ.items() if name.lower() in _PROXIES and text}
    for name, text in proxies.items():
        if not environment.is_address(_SCHEME.sub("http://", text)):
            raise Unusable(f"{name} is not the address of a proxy: set it to http://HOST:PORT, or unset it")
    try:
        client = httpx2.Client(event_hooks=hooks, follow_redirects=True)
    except ImportError:
        named = " and ".join(name for name, text in proxies.items() if text.lower().startswith("socks"))
        raise Unusable(f"a SOCKS proxy needs the package socksio: pip install socksio, or unset {named}") from None
    except OSError as error:
        reason = f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error.strerror or error}"
        raise Unusable(f"{reason}: change it, or unset it") from None
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = _Backend()
    return client


def _cleaned(record: logging.LogRecord) -> bool:
    record.msg, record.args = visible(without_secrets(" ".join(record.getMessage().splitlines()))), ()
    return True


_count = itertools.count(1)


def _check(response: httpx2.Response) -> None:
    """NotTheHub for an answer that the Hub's API does not give; an error if the server wants us to wait long."""
    wanted = [response.headers.get("Retry-After", ""), *re.findall(r"t=(\d+)", response.headers.get("RateLimit", ""))]
    if response.status_code >= 400 and any(wait.isdigit() and int(wait[:9]) > _LONGEST_WAIT for wait in wanted):
        hf_raise_for_status(response)
    for name in ("ETag", "X-Linked-ETag", "X-Repo-Commit"):
        _check_name(response.headers.get(name, "").removeprefix("W/").strip('"'))
    path = response.request.url.path
    if "/api/" not in path:
        return
    if next(_count) > _MOST_ANSWERS:
        raise NotTheHub("a list of files without end")
    if response.has_redirect_location and "/api/" not in response.headers["Location"]:
        raise NotTheHub("a redirect to another page")
    if not response.is_success or response.request.method == "HEAD":
        return
    if "html" in response.headers.get("Content-Type", ""):
        raise NotTheHub("a page of HTML")
    if not path.endswith("/auth-check"):
        response.read()
        _check_json(response.json())
    following = urljoin(str(response.url), response.links.get("next", {}).get("url", ""))
    if urlsplit(following)[:2] != urlsplit(str(response.url))[:2]:  # the token would go there
        raise NotTheHub("the next page is at another server")


def _check_json(value: Any) -> None:
    """NotTheHub unless the answer describes a repository, or lists paths and their hashes that stay in its folder."""
    if isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in value
    ):
        for entry in value:
            hashes = entry.get("lfs") or {}
            for text in (*entry.values(), *(hashes.values() if isinstance(hashes, dict) else ())):
                _check_name(text)
    elif not isinstance(value, dict) or not ("sha" not in value or _COMMIT.fullmatch(str(value["sha"]))):
        raise NotTheHub("neither a repository nor a list of files")


def _check_name(text: object) -> None:
    """NotTheHub if the client, which makes names of files of it, would leave its cache."""
    if isinstance(text, str) and (text.startswith("/") or "\0" in text or ".." in text.split("/")):
        raise NotTheHub("a name that leads out of the cache")


class _Backend(httpcore2.SyncBackend):
    """Connections with a time-out, which some calls of the Hub's client lack, and an end if nearly nothing arrives."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        return _Stream(super().connect_tcp(host, port, timeout or _seconds(), local_address, socket_options))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream):
        self._stream = stream
        self._waited, self._got = 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        begin = time.monotonic()
        data = self._stream.read(max_bytes, timeout or _seconds())
        self._waited += time.monotonic() - begin
        self._got += len(data)
        if self._waited > _seconds():  # the time-out counts anew for each byte
            if data and self._got < _LEAST_RATE * self._waited:
                raise TooSlow
            self._waited, self._got = 0.0, 0
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._waited, self._got = 0.0, 0
        self._stream.write(buffer, timeout or _seconds())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout or _seconds()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _seconds() -> int:
    return constants.HF_HUB_DOWNLOAD_TIMEOUT
