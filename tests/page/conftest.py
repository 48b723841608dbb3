"""A real server with the tiny model, and a headless Chromium, once for all tests of the page that a worker has."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import chromium
import numpy as np
import pytest
import soundfile
from page_material import MODEL, ROOT, SPOKEN_SECONDS, TOKEN, Recording, Server, ended, enter
from tab import Page


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("fastapi", reason="gputx[server] is not installed")
    _chromium()
    directory = tmp_path_factory.mktemp("server")
    (directory / "tokens").write_text(f"{TOKEN}\n")
    (directory / "tokens").chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = directory / "log"
    command = [sys.executable, "-m", "gputx_remote", "api", "--model", str(MODEL), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--tokens", str(directory / "tokens"), "--state", str(directory / "state")]
    command += ["--device", "cpu", "--model-name", "gputx/tiny-sv"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr)
    try:
        _healthy(f"http://127.0.0.1:{port}", process, log)
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"the server does not serve: {log.read_text(errors='replace')[-3000:]}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if json.load(answer)["model_loaded"]:
                    return
        except OSError:
            pass  # not listening yet, or 503 while the model is loaded
        time.sleep(0.1)


def _chromium() -> None:
    if chromium.binary() is None:
        pytest.skip("no chromium on this machine: apt install chromium")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    _chromium()
    directory = tmp_path_factory.mktemp("chromium")
    spoken = directory / "spoken.wav"
    samples, rate = soundfile.read(ROOT / "examples" / "held-out" / "clip00.flac", dtype="int16")
    soundfile.write(spoken, np.concatenate([samples[: SPOKEN_SECONDS * rate], np.zeros(rate, np.int16)]), rate)
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
    )
    with chromium.started(directory / "profile", *flags) as running:
        yield running


@pytest.fixture
def page(browser: chromium.Chromium) -> Iterator[Page]:
    """An empty tab of a browser that prefers English and light; its window is 1280 by 860."""
    with browser.page(1280, 860) as tab:
        tab.speaks("en-GB")
        tab.media(prefers_color_scheme="light")
        yield tab


@pytest.fixture
def opened(server: Server, page: Page) -> Iterator[Page]:
    """The page, with the token given; afterwards nothing may stand on the console."""
    enter(page, server.url + "/")
    yield page
    assert page.complaints() == []


@pytest.fixture(scope="module")
def filled(server: Server, browser: chromium.Chromium, interview: Recording, short: Recording) -> Iterator[Page]:
    """One page for many tests, with two recordings, the first of them shown. They leave it as it was."""
    with browser.page(1280, 860) as tab:
        tab.speaks("en-GB")
        tab.media(prefers_color_scheme="light")
        enter(tab, server.url + "/")
        tab.files("#files", [interview.path, short.path])
        ended(tab, "done", "done")
        yield tab
        assert tab.complaints() == []


@pytest.fixture(scope="session")
def interview() -> Recording:
    """Half a minute of Swedish."""
    return Recording(
        ROOT / "examples" / "intervju.mp3", (ROOT / "examples" / "intervju.reference.txt").read_text(encoding="utf-8")
    )


@pytest.fixture(scope="session")
def short() -> Recording:
    """Ten seconds, as a file of another kind than the browser would record."""
    line = (ROOT / "examples" / "held-out" / "clips.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")
    return Recording(ROOT / "examples" / "held-out" / line[0], line[3])
