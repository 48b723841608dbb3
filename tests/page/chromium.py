"""A headless Chromium by its DevTools protocol, over a pair of pipes: no port, no driver, no package.

https://chromedevtools.github.io/devtools-protocol/; with ``--remote-debugging-pipe`` messages are JSON, each ended by
a NUL, read from file descriptor 3 and written to 4.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tab import Page, PageError

BINARIES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
    "--password-store=basic",
    # Nothing but loopback resolves: a page that reached for an asset elsewhere would fail.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--autoplay-policy=no-user-gesture-required",
)


def binary() -> str | None:
    """Chromium on this machine; None where there is none."""
    return next((found for name in BINARIES if (found := shutil.which(name))), None)


class Chromium:
    """One browser process. Thread-safe for one caller."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        """Every event since the start, as the protocol has them."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Let go of the pipes, once the process has ended."""
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while chunk := os.read(self._process.stdout.fileno(), 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers.put(message)
                else:
                    self.events.append(message)

    def call(self, method: str, session: str | None = None, /, timeout: float = 30, **params: Any) -> dict[str, Any]:
        """One command and its result.

        Raises:
            PageError: the browser refused it, or did not answer in time.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        end = time.monotonic() + timeout
        while True:
            try:
                answer = self._answers.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                log = self._log.read_text(errors="replace")[-2000:]
                raise PageError(f"no answer to {method} in {timeout:g} s; chromium says: {log}") from None
            if answer["id"] != number:
                continue  # of a call that was given up
            if "error" in answer:
                raise PageError(f"{method}: {answer['error']['message']}")
            return dict(answer["result"])

    @contextmanager
    def page(self, width: int = 1280, height: int = 900) -> Iterator[Page]:
        """A page with cookies and storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, context)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.size(width, height)
        try:
            yield page
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)


@contextmanager
def started(profile: Path, *flags: str) -> Iterator[Chromium]:
    """A browser with a profile of its own, which ends with the block."""
    found = binary()
    assert found, "no chromium on this machine"
    log = profile.with_suffix(".log")
    command = [found, f"--user-data-dir={profile}", *_FLAGS, *flags]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # it refuses root otherwise
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    browser = Chromium(process, log)
    try:
        browser.call("Browser.getVersion", timeout=60)
        yield browser
    finally:
        try:
            browser.call("Browser.close", timeout=10)
            process.wait(20)
        except (PageError, OSError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        browser.close()
