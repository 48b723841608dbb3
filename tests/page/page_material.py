"""What the tests of the page share: where the server is, recordings, and what is looked for on the page."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path

import jiwer
from tab import Page

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "gputx" / "sandbox" / "tiny_sv"
TOKEN = "page-test-token-0123456789abcdef"
SPOKEN_SECONDS = 4
"""Of the recording that the browser's microphone hears, over and over."""


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    url: str

    def get(self, path: str) -> bytes:
        """The body of an answer, asked for with the token."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


@dataclass(frozen=True)
class Recording:
    """A file, and what is said in it."""

    path: Path
    text: str


def wer(reference: str, hypothesis: str) -> float:
    """Word error rate, over words in lower case without punctuation."""

    def words(text: str) -> str:
        return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())

    return float(jiwer.wer(words(reference), words(hypothesis)))


SHOWN = "[...document.querySelectorAll('#segments p')].map((line) => line.textContent).join(' ')"
"""JavaScript: the text of the recording that is shown."""
STATES = "[...document.querySelectorAll('#queue li')].map((row) => row.dataset.state).join()"
"""JavaScript: what has become of each, with commas between."""
WORK = "JSON.parse(sessionStorage.getItem('gputx.work'))"
"""JavaScript: the jobs of this tab."""


def enter(page: Page, url: str) -> None:
    """Open the page and give it the token, by keys."""
    page.goto(url)
    page.until("document.querySelector('#ask').open")
    page.write(TOKEN)
    page.press("Enter")
    page.until("!document.querySelector('#ask').open")


def ended(page: Page, *states: str, seconds: float = 120) -> None:
    """Wait until every recording of the page has come to an end, and see that it is this one: done, unless named."""
    page.until(f"/^(done|failed|cancelled)(,(done|failed|cancelled))*$/.test({STATES})", seconds)
    assert page.js(STATES) == ",".join(states or ["done"]), page.text("body")
