"""Any transcript, with any options, read back from every format by parsers that are not ours."""

from __future__ import annotations

import csv
import html
import io
import json
import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction
from itertools import groupby, pairwise
from xml.etree import ElementTree

import html5lib
import jsonschema
import srt
import ttconv.imsc.reader
import ttconv.model
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from test_writers import SCHEMA

from gputx_remote.transcript import Measure, Segment, Transcript, Word
from gputx_remote.writers import FORMATS, SUBTITLES, WriterOptions, render

Timed = list[tuple[int, int, str]]
"""Cues as a parser found them: start and end in ms, and the text without its mark-up."""

XML = "{http://www.w3.org/XML/1998/namespace}"
TTML = "{http://www.w3.org/ns/ttml}"
# Derandomized: a suite that fails on one machine fails on every one.
SEEDED = settings(derandomize=True, max_examples=40, deadline=None)
FEWER = settings(SEEDED, max_examples=20)

SWEDISH = st.text(st.sampled_from("åäöÅÄÖé abc.,–”’&-"), max_size=30)
HOSTILE = st.sampled_from(
    ["-->", "--" * 3 + ">", "<u>", "</p>", "]]>", "\0", "\ufeff", "\udc80", "\x85", "\n\n1\n", "&amp;"]
)
TEXTS = st.one_of(SWEDISH, st.text(max_size=30), st.lists(st.one_of(HOSTILE, SWEDISH), max_size=5).map("".join))
# Times as no engine should give them: out of order, before the start, past the end.
TIMES = st.integers(-2_000, 9_000_000)
SHARES = st.floats(0, 1)
MEASURES = st.builds(Measure, st.floats(), st.floats(), SHARES, SHARES)
WORDS = st.lists(st.builds(Word, TIMES, TIMES, TEXTS, st.floats()), max_size=4).map(tuple)
LIMIT = st.one_of(st.none(), st.integers(1, 50))


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    text, words = draw(TEXTS), draw(WORDS)
    if draw(st.booleans()):
        words = tuple(Word(draw(TIMES), draw(TIMES), word, draw(SHARES)) for word in text.split())
    return Segment(
        draw(TIMES),
        draw(TIMES),
        text,
        words,
        draw(st.lists(st.integers(0, 51_865), max_size=3).map(tuple)),
        draw(st.one_of(st.none(), SHARES)),
        draw(st.booleans()),
        draw(st.one_of(st.none(), MEASURES)),
    )


TRANSCRIPTS = st.builds(
    Transcript,
    st.lists(segments(), max_size=6).map(tuple),
    st.sampled_from(["sv", "en", "ja", "jw"]),
    st.one_of(st.integers(0, 9_000_000), st.just(0)),
)


@st.composite
def limits(draw: st.DrawFn) -> WriterOptions:
    width, words = draw(LIMIT), draw(LIMIT)
    count = draw(st.one_of(st.none(), st.integers(1, 4))) if width or words else None
    return WriterOptions(width, count, words, highlight_words=draw(st.booleans()))


def from_srt(text: str) -> Timed:
    cues = list(srt.parse(text, ignore_errors=False))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    one = timedelta(milliseconds=1)
    return [(cue.start // one, cue.end // one, cue.content) for cue in cues]


def from_vtt(text: str) -> Timed:
    captions = webvtt.from_string(text).captions
    return [(_ms(c.start), _ms(c.end), html.unescape(re.sub("</?u>", "", c.raw_text))) for c in captions]


def from_ttml(text: str) -> Timed:
    """Through ttconv, which reads TTML into the model of IMSC 1.1; what it finds amiss it logs."""
    complaints: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("ttconv"), logging.Handler(logging.INFO)
    handler.emit = complaints.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        document = ttconv.imsc.reader.to_model(ElementTree.ElementTree(ElementTree.fromstring(text)))
    finally:
        logger.removeHandler(handler)
    assert not complaints, complaints[0].getMessage()
    assert document is not None
    body = document.get_body()
    assert body is not None
    cues = []
    for node in body.dfs_iterator():
        if isinstance(node, ttconv.model.P):
            start, end = node.get_begin(), node.get_end()
            assert end is not None
            # Its model has no begin where that is 0.
            cues.append((_whole(start or Fraction(0)), _whole(end), "".join(_texts(node))))
    return cues


def _texts(paragraph: ttconv.model.P) -> Iterable[str]:
    for node in paragraph.dfs_iterator():
        if isinstance(node, ttconv.model.Text):
            yield node.get_text()
        elif isinstance(node, ttconv.model.Br):
            yield "\n"


def _whole(seconds: Fraction) -> int:
    assert (seconds * 1000).denominator == 1
    return int(seconds * 1000)


def _ms(clock: str) -> int:
    hours, minutes, seconds, rest = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})", clock).groups()  # type: ignore[union-attr]
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(rest)


READERS = {"srt": from_srt, "vtt": from_vtt, "ttml": from_ttml}


def said(transcript: Transcript) -> list[str]:
    """The texts that have to be found again, as a plain txt tells them: its writer changes white space only."""
    return render(transcript, "txt").splitlines()


def bare(text: str) -> str:
    return "".join(text.split())


def is_in_order(cues: Timed, duration_ms: int) -> bool:
    ends = max(duration_ms, len(cues))
    return all(0 <= start < end <= ends for start, end, _ in cues) and all(
        before[1] <= after[0] for before, after in pairwise(cues)
    )


@FEWER
@given(TRANSCRIPTS, limits())
def test_subtitles_read_back_whole_and_in_order(transcript: Transcript, options: WriterOptions) -> None:
    plain = WriterOptions(options.max_line_width, options.max_line_count, options.max_words_per_line)
    whole = bare("".join(said(transcript)))
    for format_, read in READERS.items():
        cues = read(render(transcript, format_, plain))
        wanted = re.sub("-{2,}>", "->", whole) if format_ == "srt" else whole
        found = bare("".join(text for _, _, text in cues))
        if format_ == "srt":
            # An arrow that a line break parts is none, so it may be written as it was said.
            found = re.sub("-{2,}>", "->", found)
        assert found == wanted
        assert is_in_order(cues, transcript.duration_ms)
        assert is_in_order(read(render(transcript, format_, options)), transcript.duration_ms)


@FEWER
@given(TRANSCRIPTS, limits())
def test_lines_keep_to_their_limits(transcript: Transcript, options: WriterOptions) -> None:
    for _, _, text in from_ttml(render(transcript, "ttml", options)):
        lines = text.split("\n")
        assert options.lines_per_cue is None or len(lines) <= options.lines_per_cue
        for line in lines:
            # By themselves pieces may be longer: a line of one that has no space inside can't be cut in Swedish.
            assert " " not in line or not options.max_line_width or len(line) <= options.max_line_width
            assert line == line.strip()
            assert line


@FEWER
@given(TRANSCRIPTS)
def test_highlighting_changes_no_text(transcript: Transcript) -> None:
    for format_ in ("vtt", "ttml"):
        read = READERS[format_]
        plain = [text for _, _, text in read(render(transcript, format_))]
        lit = [text for _, _, text in read(render(transcript, format_, WriterOptions(highlight_words=True)))]
        assert [text for text, _ in groupby(lit)] == [text for text, _ in groupby(plain)]


@SEEDED
@given(TRANSCRIPTS, limits())
def test_every_line_of_a_vtt_is_in_the_grammar(transcript: Transcript, options: WriterOptions) -> None:
    head, *blocks = render(transcript, "vtt", options).removesuffix("\n\n").split("\n\n")
    assert head == "WEBVTT"
    time = r"(\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}"
    for block in blocks:
        times, *lines = block.split("\n")
        assert re.fullmatch(f"{time} --> {time}", times)
        assert lines
        for line in lines:
            assert line.strip()
            assert "-->" not in line
            assert re.fullmatch(r"([^&<\r\n\0]|&(amp|lt|gt);|</?u>)*", line)


@SEEDED
@given(TRANSCRIPTS, limits())
def test_ttml_is_built_as_the_standard_has_it(transcript: Transcript, options: WriterOptions) -> None:
    root = ElementTree.fromstring(render(transcript, "ttml", options, title="</tt>\x00&"))
    assert root.tag == f"{TTML}tt"
    assert f"{XML}lang" in root.attrib
    assert [child.tag for child in root] == [f"{TTML}head", f"{TTML}body"]
    ids = [node.get(f"{XML}id") for node in root.iter() if f"{XML}id" in node.attrib]
    assert len(set(ids)) == len(ids)
    styles = {node.get(f"{XML}id") for node in root.iter(f"{TTML}style")}
    for node in root.iter():
        assert node.get("style") is None or node.get("style") in styles
    for paragraph in root.iter(f"{TTML}p"):
        for name in ("begin", "end"):
            assert re.fullmatch(r"\d{2,}:[0-5]\d:[0-5]\d\.\d{3}", paragraph.get(name, ""))
        assert {node.tag for node in paragraph.iter()} <= {f"{TTML}p", f"{TTML}span", f"{TTML}br"}


@SEEDED
@given(TRANSCRIPTS)
def test_tsv_reads_back(transcript: Transcript) -> None:
    reader = csv.reader(io.StringIO(render(transcript, "tsv")), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    header, *rows = reader
    assert header == ["start", "end", "text"]
    assert [row[2] for row in rows] == said(transcript)
    moments = [int(moment) for row in rows for moment in row[:2]]
    assert moments == sorted(moments)
    assert all(0 <= moment <= transcript.duration_ms for moment in moments)


@SEEDED
@given(TRANSCRIPTS)
def test_json_reads_back(transcript: Transcript) -> None:
    document = json.loads(render(transcript, "json"), parse_constant=_no_number)
    jsonschema.validate(document, SCHEMA)
    assert document["text"] == " ".join(said(transcript))
    assert [segment["text"] for segment in document["segments"]] == said(transcript)
    floor = 0.0
    for segment in document["segments"]:
        assert floor <= segment["start"] <= segment["end"] <= document["duration"]
        floor = segment["start"]
        for word in segment.get("words", ()):
            assert floor <= word["start"] <= word["end"] <= segment["end"]
            floor = word["end"]
        floor = segment["end"]


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@SEEDED
@given(TRANSCRIPTS)
def test_html_is_strictly_html_and_says_every_word(transcript: Transcript) -> None:
    page = html5lib.HTMLParser(strict=True).parse(render(transcript, "html", title="</title>\x00&"))
    rows = page.findall(".//{*}main//{*}li")
    for mark in page.findall(".//{*}main//{*}strong"):
        mark.text = ""
    paragraphs = [row.find("{*}p") for row in rows]
    assert ["".join(p.itertext()).strip() for p in paragraphs if p is not None] == said(transcript)
    assert not page.findall(".//{*}script")


@SEEDED
@given(TRANSCRIPTS, limits())
def test_every_format_can_be_saved_and_is_the_same_each_time(transcript: Transcript, options: WriterOptions) -> None:
    for format_ in FORMATS:
        text = render(transcript, format_, options)
        assert text == "" or text.endswith("\n")
        text.encode("utf-8")
        assert render(transcript, format_, options) == text
        if format_ not in SUBTITLES:
            assert render(transcript, format_) == text


def test_more_cues_than_milliseconds_lose_no_text() -> None:
    crowded = Transcript(tuple(Segment(1, 1, f"ord{n}") for n in range(5)), "sv", 1)
    for format_, read in READERS.items():
        assert read(render(crowded, format_)) == [(n, n + 1, f"ord{n}") for n in range(5)]
