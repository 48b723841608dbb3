"""Recording in the browser: by Chromium's own microphone, and with the sound of a file in its place.

The microphone keeps real time and on a busy machine drops sound, so what was said is asserted on the file only.
"""

from __future__ import annotations

import base64
import json

import pytest
import soundfile
from page_material import ROOT, SHOWN, SPOKEN_SECONDS, ended, wer
from tab import Page

SAID = "Förslaget väntar väntar skriver."
"""In the first seconds of clip00."""

_INSTEAD = """window.AudioWorkletNode = class extends GainNode {
  constructor(context) {
    super(context);
    this.port = { postMessage: () => this.port.onmessage({ data: { end: true } }) };
    const bytes = Uint8Array.from(atob(%s), (letter) => letter.charCodeAt(0));
    setTimeout(() => {
      for (let at = 0; at < bytes.length; at += 3200) {
        this.port.onmessage({ data: { pcm: new Int16Array(bytes.slice(at, at + 3200).buffer), peak: 0.5 } });
      }
    }, 0);
  }
}"""


@pytest.fixture
def speaking(opened: Page) -> Page:
    """The page, to whose microphone somebody says :data:`SAID` all at once."""
    samples, rate = soundfile.read(ROOT / "examples" / "held-out" / "clip00.flac", dtype="int16")
    packed = base64.b64encode(samples[: SPOKEN_SECONDS * rate].astype("<i2").tobytes()).decode()
    opened.js(f"{_INSTEAD % json.dumps(packed)}; true")
    return opened


def _stop(page: Page) -> None:
    page.click("#stop")
    ended(page)


def test_the_microphone_is_heard(opened: Page) -> None:
    opened.click("#record")
    opened.until("!document.querySelector('#recording').hidden")
    opened.until("document.querySelector('#recorded').textContent === '0:01'")
    opened.until("document.querySelector('#level').value > 0")
    assert opened.js("document.querySelector('#queue li').dataset.state") == "recording"
    _stop(opened)
    # At 16 kHz, whatever the microphone has: it lasts as long as it was.
    opened.until("document.querySelector('#sound').duration >= 1")
    opened.click("#play")
    opened.until("document.querySelector('#sound').currentTime > 0")


def test_speech_becomes_text_while_it_is_spoken(speaking: Page) -> None:
    speaking.click("#record")
    speaking.until("(document.querySelector('#partial').textContent || document.querySelector('#segments p')) && true")
    assert speaking.js("document.querySelector('#queue li').dataset.state") == "recording"
    _stop(speaking)
    assert wer(SAID, speaking.js(SHOWN)) <= 0.5
    assert [url for url in speaking.addresses() if url.endswith("/live")]
    assert not [url for url in speaking.addresses() if "/transcribe" in url]
    speaking.until(f"document.querySelector('#sound').duration === {SPOKEN_SECONDS}")
    speaking.click("#segments li:first-child .time")
    speaking.until("document.querySelector('#sound').currentTime > 0")


def test_where_the_live_line_breaks_the_whole_is_sent_as_a_file(speaking: Page) -> None:
    # A proxy that passes no WebSockets answers as this address does.
    speaking.js(
        "window.WebSocket = class extends WebSocket { constructor(_, names) { super('/no-live', names) } }; true"
    )
    speaking.forgive("/no-live")
    speaking.click("#record")
    speaking.until("document.querySelector('#recorded').textContent === '0:04'")
    _stop(speaking)
    assert wer(SAID, speaking.js(SHOWN)) <= 0.5
    assert [url for url in speaking.addresses() if "/transcribe" in url]
