"""A headless Chromium, driven over the DevTools protocol through two pipes: messages are JSON with a NUL after each."""

import fcntl
import json
import os
import select
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",  # a Mac has them out of PATH
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS = (
    "--headless --disable-gpu --no-first-run --disable-extensions --disable-background-networking "
    "--disable-component-update --disable-sync --mute-audio --remote-debugging-pipe"
).split()
_PATIENCE = 60  # seconds without an answer


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """A page: ``events`` holds what it reported since it was opened."""

    def __init__(self, to_browser: int, from_browser: int):
        self._to, self._from = to_browser, from_browser
        self._buffer, self._last, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while (answer := self._read()).get("id") != self._last:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE)
            assert ready, "no answer from Chromium"
            read = os.read(self._from, 1 << 20)
            assert read, "Chromium has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Show the page and wait until it is loaded."""
        seen = len(self.events)
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired", seen)

    def wait(self, method: str, seen: int = 0) -> None:
        """Wait until the page has reported this, after the first ``seen`` events."""
        while not any(event["method"] == method for event in self.events[seen:]):
            self.events.append(self._read())

    def drawn(self) -> None:
        """Wait until what was done last can be seen; needs scripts."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script: str) -> Any:
        """The value of a script, run by us from outside the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: a character, or the name of a key."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowDown": 40, "ArrowRight": 39}
        for key in keys:
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            code = codes.get(key, ord(key.upper()[0]))
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    def named(self, method: str) -> list[dict[str, Any]]:
        """What the page reported under this name."""
        return [event["params"] for event in self.events if event["method"] == method]


def _pipe() -> list[int]:
    """Ends that lie above 3 and 4, where Chromium looks for its own."""
    ends = os.pipe()
    above = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return above


@contextmanager
def browser(path: str, *flags: str) -> Iterator[Tab]:
    with tempfile.TemporaryDirectory() as profile:
        read_by_it, to_browser = _pipe()
        from_browser, written_by_it = _pipe()
        null = os.open(os.devnull, os.O_RDWR)
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        pid = os.posix_spawn(
            path,
            [path, *_FLAGS, *as_root, f"--user-data-dir={profile}", *flags],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read_by_it, 3),
                (os.POSIX_SPAWN_DUP2, written_by_it, 4),
                *((os.POSIX_SPAWN_DUP2, null, standard) for standard in (0, 1, 2)),
            ],
        )
        os.close(read_by_it)
        os.close(written_by_it)
        tab = Tab(to_browser, from_browser)
        try:
            yield tab
        finally:
            os.close(to_browser)  # it ends when nobody talks to it
            os.waitpid(pid, 0)
            os.close(from_browser)
            os.close(null)
            shutil.rmtree(Path(profile), ignore_errors=True)
