"""Output formats, read back by parsers that are not ours."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from gputx_remote.transcript import Segment, Transcript
from gputx_remote.writers import FORMATS, render

HOUR_MS = 3_600_000
SPOKEN = Transcript(
    (
        Segment(0, 1_500, "Hej."),
        Segment(61_020, 62_003, "Kaffe & bröd <billigt> --> nu"),
        Segment(HOUR_MS + 1, HOUR_MS + 900, "På torsdag."),
    ),
    "sv",
    HOUR_MS + 1_000,
)
SILENT = Transcript((), "sv", 5_000)
# Everything but surrogates, which no UTF-8 file can hold.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    segments, now = [], 0
    for gap, length, text in draw(
        st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(0, 9_000), TEXTS), max_size=8)
    ):
        segments.append(Segment(now + gap, now + gap + length, text))
        now += gap + length
    return Transcript(tuple(segments), "sv", now)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_formats_are_those_of_whisper() -> None:
    assert FORMATS == ("txt", "srt", "vtt", "tsv", "json")


def test_txt() -> None:
    assert render(SPOKEN, "txt") == "Hej.\nKaffe & bröd <billigt> --> nu\nPå torsdag.\n"


def test_srt() -> None:
    assert render(SPOKEN, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHej.\n\n"
        "2\n00:01:01,020 --> 00:01:02,003\nKaffe & bröd <billigt> -> nu\n\n"
        "3\n01:00:00,001 --> 01:00:00,900\nPå torsdag.\n\n"
    )


def test_vtt_has_hours_only_where_needed() -> None:
    assert render(SPOKEN, "vtt") == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:01.500\nHej.\n\n"
        "01:01.020 --> 01:02.003\nKaffe &amp; bröd &lt;billigt&gt; --&gt; nu\n\n"
        "01:00:00.001 --> 01:00:00.900\nPå torsdag.\n\n"
    )


def test_tsv() -> None:
    assert render(SPOKEN, "tsv").splitlines()[:2] == ["start\tend\ttext", "0\t1500\tHej."]


def test_json_is_whispers_document() -> None:
    document = json.loads(render(SPOKEN, "json"))
    assert document["text"] == SPOKEN.text
    assert document["language"] == "sv"
    assert document["segments"][1] == {
        "id": 1,
        "start": 61.02,
        "end": 62.003,
        "text": "Kaffe & bröd <billigt> --> nu",
    }


@pytest.mark.parametrize(
    ("format_", "empty"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("tsv", "start\tend\ttext\n")],
)
def test_silence_gives_a_valid_empty_document(format_: str, empty: str) -> None:
    assert render(SILENT, format_) == empty


def test_silence_in_json() -> None:
    assert json.loads(render(SILENT, "json")) == {"text": "", "segments": [], "language": "sv"}


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="txt, srt, vtt, tsv, json"):
        render(SPOKEN, "docx")


@given(transcripts())
def test_srt_reads_back(transcript: Transcript) -> None:
    cues = list(srt.parse(render(transcript, "srt"), ignore_errors=False))
    said = [segment for segment in transcript.segments if segment.text.strip()]
    assert [cue.index for cue in cues] == list(range(1, len(said) + 1))
    for cue, segment in zip(cues, said, strict=True):
        assert cue.start == timedelta(milliseconds=segment.start_ms)
        assert cue.end == timedelta(milliseconds=max(segment.end_ms, segment.start_ms + 1))
        assert cue.content == one_line(segment.text).replace("-->", "->")


@given(transcripts())
def test_vtt_reads_back(transcript: Transcript) -> None:
    captions = webvtt.from_string(render(transcript, "vtt")).captions
    said = [segment for segment in transcript.segments if segment.text.strip()]
    assert len(captions) == len(said)
    for caption, segment in zip(captions, said, strict=True):
        hours, minutes, seconds = caption.start.split(":")
        start = (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)
        assert start == segment.start_ms
        assert caption.end > caption.start
        assert "-->" not in caption.raw_text


@given(transcripts())
def test_tsv_reads_back(transcript: Transcript) -> None:
    rows = list(csv.reader(io.StringIO(render(transcript, "tsv")), delimiter="\t", quoting=csv.QUOTE_NONE))
    said = [segment for segment in transcript.segments if segment.text.strip()]
    assert rows[0] == ["start", "end", "text"]
    assert rows[1:] == [[str(s.start_ms), str(s.end_ms), one_line(s.text)] for s in said]


@given(transcripts())
def test_every_format_can_be_saved(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> None:
    folder: Path = tmp_path_factory.mktemp("saved")
    for format_ in FORMATS:
        text = render(transcript, format_)
        assert text == "" or text.endswith("\n")
        (folder / format_).write_text(text, encoding="utf-8")
