"""What the page writes, held against the writers of the engine; and its words, in both languages."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from page_material import Server
from tab import Page

from gputx_remote import languages, writers
from gputx_remote.server import page as files
from gputx_remote.transcript import Segment, Transcript, Word

DIRECTORY = Path(files.__file__).parent

_TEXTS = (
    "Och då sa läkaren att vi skulle vänta.",
    "Ja.",
    "  två  blanksteg\toch\ntecken\x1c ",
    "a --> b & <c>",
    "",
    "\ufeff\ufffe",
    "läs på s. 12–14, tack…",
    "\u2028rad\u00a0hårt\u3000brett",
    "\U0001f600 smil",
    "x\x85y\x0bz",
)


@pytest.fixture
def modules(server: Server, page: Page) -> Page:
    """The page, from which its own modules can be imported."""
    page.goto(server.url + "/")
    return page


def _transcripts(count: int) -> list[Transcript]:
    draw = random.Random(20261121)
    made = []
    for _ in range(count):
        at, segments = 0, []
        for _ in range(draw.randrange(6)):
            start = at + draw.choice((-700, 0, 0, 1, 250, 90_000, 3_600_000))
            end = start + draw.choice((-50, 0, 1, 999, 4321))
            text = draw.choice(_TEXTS)
            times = [draw.randrange(-100, 5000) for _ in range(2 * len(text.split()))] if draw.random() < 0.5 else []
            words = tuple(
                Word(start + a, start + b, word, 0.5)
                for word, a, b in zip(text.split(), times[::2], times[1::2], strict=False)
            )
            segments.append(Segment(start, end, text, words, suspect=draw.random() < 0.1))
            at = max(at, end)
        made.append(Transcript(tuple(segments), "sv", draw.choice((max(at, 0), at // 2 if at > 0 else 0, 0, 5))))
    return made


def _as_the_page_has_it(transcript: Transcript) -> dict[str, Any]:
    return {
        "language": transcript.language,
        "durationMs": transcript.duration_ms,
        "segments": [
            {
                "startMs": segment.start_ms,
                "endMs": segment.end_ms,
                "text": segment.text,
                "confidence": segment.confidence,
                "suspect": segment.suspect,
                "words": [
                    {"startMs": w.start_ms, "endMs": w.end_ms, "text": w.text, "probability": w.probability}
                    for w in segment.words
                ],
            }
            for segment in transcript.segments
        ],
    }


def test_writers_agree_with_the_engines(modules: Page) -> None:
    transcripts = _transcripts(300)
    given = json.dumps([_as_the_page_has_it(transcript) for transcript in transcripts])
    written = modules.js(
        f"import('./page/writers.js').then(({{written}}) => {given}.map((t) => "
        "Object.fromEntries(['txt', 'srt', 'vtt', 'json'].map((name) => [name, written(t, name)]))))"
    )
    for transcript, mine in zip(transcripts, written, strict=True):
        for name in ("txt", "srt", "vtt"):
            assert mine[name] == writers.render(transcript, name), (name, transcript)
        document = json.loads(mine["json"])
        expected = json.loads(writers.render(transcript, "json"))
        assert document["text"] == expected["text"]
        assert document["duration"] == expected["duration"]
        for one, other in zip(document["segments"], expected["segments"], strict=True):
            assert {name: one[name] for name in ("id", "start", "end", "text", "suspect")} == {
                name: other[name] for name in ("id", "start", "end", "text", "suspect")
            }


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        ("en två tre", "en två fyra", [(0, 100), (100, 200), (200, 300)]),  # one for one: the time of what it replaces
        ("en två tre", "en tre", [(0, 100), (200, 300)]),
        ("en två tre", "en två och tre", [(0, 100), (100, 200), (200, 200), (200, 300)]),  # in no time
        ("en två tre", "en ab cd tre", [(0, 100), (100, 150), (150, 200), (200, 300)]),  # two share one's
        ("en två tre", "ett", [(0, 300)]),
        ("en två tre", "", []),
    ],
)
def test_corrected_words_keep_times(modules: Page, before: str, after: str, times: list[tuple[int, int]]) -> None:
    words = [
        {"startMs": 100 * n, "endMs": 100 * n + 100, "text": word, "probability": 0.4}
        for n, word in enumerate(before.split())
    ]
    segment = {"startMs": 0, "endMs": 300, "text": before, "words": words, "confidence": 0.4, "suspect": True}
    got = modules.js(
        f"import('./page/editing.js').then(({{corrected}}) => corrected({json.dumps(segment)}, {json.dumps(after)}))"
    )
    assert got["text"] == after
    assert not got["suspect"]
    assert [(word["startMs"], word["endMs"]) for word in got["words"]] == times
    assert " ".join(word["text"] for word in got["words"]) == after
    back = modules.js(
        f"import('./page/editing.js').then(({{corrected}}) => corrected({json.dumps(got)}, {json.dumps(before)}))"
    )
    assert back["words"] == words


def test_every_text_is_there_in_both_languages(modules: Page) -> None:
    swedish, english = modules.js(
        "import('./page/texts.js').then(({TEXTS}) => [TEXTS.sv, TEXTS.en].map((texts) => Object.fromEntries("
        "Object.entries(texts).map(([name, value]) => [name, [typeof value, value.length ?? 0]]))))"
    )
    assert swedish.keys() == english.keys()
    assert [name for name, (kind, _) in swedish.items() if kind != english[name][0]] == []
    # A text with figures takes as many in each language.
    assert [n for n, (kind, count) in swedish.items() if kind == "function" and count != english[n][1]] == []
    html = (DIRECTORY / "index.html").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.js"))
    used = {*re.findall(r'data-(?:t|label)="(\w+)"', html), *re.findall(r"\btexts\.(\w+)", scripts)} - {"tag", "js"}
    states = {"waiting", "queued", "finishing", "done", "failed", "cancelled"}  # texts[item.state]
    assert used | states | {"otherTag"} == set(swedish)


def test_languages_are_whispers(modules: Page) -> None:
    for tag, first in (("sv", ["sv", "Svenska"]), ("en", ["sv", "Swedish"])):
        listed = modules.js(f"import('./page/languages.js').then(({{languages}}) => languages('{tag}'))")
        assert listed[0] == first
        assert {code for code, _ in listed} == set(languages.NAMES)
        assert len(listed) == len(languages.NAMES)


def test_every_file_is_known_and_none_comes_from_elsewhere() -> None:
    there = {path.name for path in DIRECTORY.iterdir() if path.is_file() and path.suffix != ".py"}
    assert there == set(files.NAMES)
    for name in files.NAMES:
        text = files.asset(name).content.decode()
        for imported in re.findall(r'from "\./([\w.]+)"', text):
            assert imported in files.NAMES, f"{name} imports {imported}"
        # An address in a comment is no request; the namespace of SVG is a name.
        code = re.sub(r"^\s*(//|/?\*).*$", "", text, flags=re.MULTILINE).replace("http://www.w3.org/2000/svg", "")
        assert "://" not in code, f"{name} names an address"
    html = files.asset("index.html").content.decode()
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)|<style", html), "the policy allows none inline"
    assert sum(len(files.asset(name).content) for name in files.NAMES) < 100_000
