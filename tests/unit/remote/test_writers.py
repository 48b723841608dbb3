"""Output formats to the letter: what each writes of a transcript that is as it should be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import jsonschema
import pytest

from gputx_remote.transcript import Measure, Segment, Transcript, Word
from gputx_remote.writers import FORMATS, WriterOptions, lacks_words, needs_words, render

HOUR_MS = 3_600_000
SPOKEN = Transcript(
    (
        Segment(0, 1_500, "Hej."),
        Segment(61_020, 62_003, "Kaffe & bröd <billigt> ---> nu"),
        Segment(HOUR_MS + 1, HOUR_MS + 900, "På torsdag – ”kanske”."),
    ),
    "sv",
    HOUR_MS + 1_000,
)
SILENT = Transcript((), "sv", 5_000)
HEARD = Transcript(
    (
        Segment(
            400,
            2_000,
            "Åke åt ål.",
            (Word(400, 900, "Åke", 0.97), Word(1_000, 1_300, "åt", 0.79999), Word(1_300, 2_000, "ål.", 0.3)),
            (50, 51, 52),
            0.61,
            suspect=True,
            measure=Measure(-0.49, 1.25, 0.01, 0.2),
        ),
    ),
    "sv",
    2_500,
)
NUMBER = {"type": ["number", "null"]}
TIME = {"type": "number", "minimum": 0}
SEGMENT = {
    "id": {"type": "integer"},
    "start": TIME,
    "end": TIME,
    "text": {"type": "string", "minLength": 1},
    "tokens": {"type": "array", "items": {"type": "integer"}},
    "temperature": NUMBER,
    "avg_logprob": NUMBER,
    "compression_ratio": NUMBER,
    "no_speech_prob": NUMBER,
    "confidence": NUMBER,
    "suspect": {"type": "boolean"},
}
WORD = {"word": {"type": "string", "minLength": 2}, "start": TIME, "end": TIME, "probability": NUMBER}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["text", "segments", "language", "duration"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string"},
        "language": {"type": "string"},
        "duration": TIME,
        "segments": {
            "type": "array",
            "items": {
                "type": "object",
                "required": list(SEGMENT),
                "additionalProperties": False,
                "properties": {
                    **SEGMENT,
                    "words": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": list(WORD),
                            "additionalProperties": False,
                            "properties": WORD,
                        },
                    },
                },
            },
        },
    },
}


def test_there_are_whispers_formats_and_two_more() -> None:
    assert FORMATS == ("txt", "srt", "vtt", "ttml", "tsv", "json", "html")


def test_txt() -> None:
    assert render(SPOKEN, "txt") == "Hej.\nKaffe & bröd <billigt> ---> nu\nPå torsdag – ”kanske”.\n"


def test_srt() -> None:
    assert render(SPOKEN, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHej.\n\n"
        "2\n00:01:01,020 --> 00:01:02,003\nKaffe & bröd <billigt> -> nu\n\n"
        "3\n01:00:00,001 --> 01:00:00,900\nPå torsdag – ”kanske”.\n\n"
    )


def test_vtt_has_hours_only_where_needed() -> None:
    assert render(SPOKEN, "vtt") == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:01.500\nHej.\n\n"
        "01:01.020 --> 01:02.003\nKaffe &amp; bröd &lt;billigt&gt; ---&gt; nu\n\n"
        "01:00:00.001 --> 01:00:00.900\nPå torsdag – ”kanske”.\n\n"
    )


def test_ttml_has_its_language_its_title_and_whole_times() -> None:
    text = render(SPOKEN, "ttml", title="a & b.mp3")
    root = ElementTree.fromstring(text)
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "sv"
    assert root.findtext(".//{http://www.w3.org/ns/ttml#metadata}title") == "a & b.mp3"
    assert '<p xml:id="c2" begin="00:01:01.020" end="00:01:02.003">' in text
    assert "Kaffe &amp; bröd &lt;billigt&gt; ---&gt; nu" in text


def test_tsv() -> None:
    assert render(SPOKEN, "tsv").splitlines()[:2] == ["start\tend\ttext", "0\t1500\tHej."]


def test_json_is_whispers_document_and_ours() -> None:
    document = json.loads(render(HEARD, "json"))
    assert document == {
        "text": "Åke åt ål.",
        "language": "sv",
        "duration": 2.5,
        "segments": [
            {
                "id": 0,
                "start": 0.4,
                "end": 2.0,
                "text": "Åke åt ål.",
                "tokens": [50, 51, 52],
                "temperature": 0.2,
                "avg_logprob": -0.49,
                "compression_ratio": 1.25,
                "no_speech_prob": 0.01,
                "confidence": 0.61,
                "suspect": True,
                "words": [
                    {"word": " Åke", "start": 0.4, "end": 0.9, "probability": 0.97},
                    {"word": " åt", "start": 1.0, "end": 1.3, "probability": 0.79999},
                    {"word": " ål.", "start": 1.3, "end": 2.0, "probability": 0.3},
                ],
            }
        ],
    }


@pytest.mark.parametrize("transcript", [SPOKEN, SILENT, HEARD])
def test_json_keeps_to_its_schema(transcript: Transcript) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(render(transcript, "json")), SCHEMA)


def test_json_holds_no_number_that_is_none() -> None:
    wild = replace(HEARD.segments[0], confidence=math.nan, measure=Measure(-math.inf, math.nan, 0.0, 0.0))
    (segment,) = json.loads(render(replace(HEARD, segments=(wild,)), "json"))["segments"]
    assert segment["confidence"] is segment["avg_logprob"] is segment["compression_ratio"] is None


def test_words_in_json_are_the_text_when_joined_in_languages_without_spaces_too() -> None:
    words = (Word(0, 100, "今日", 1.0), Word(100, 200, "は。", 1.0), Word(200, 300, "はい", 1.0))
    spoken = Transcript((Segment(0, 300, "今日は。 はい", words),), "ja", 300)
    (segment,) = json.loads(render(spoken, "json"))["segments"]
    assert "".join(word["word"] for word in segment["words"]) == " 今日は。 はい"


def test_html_says_how_sure_the_model_was() -> None:
    page = render(HEARD, "html", title="<b>.mp3")
    assert "<title>&lt;b&gt;.mp3</title>" in page
    # 0.79999 is below the mark and must not be said to be on it.
    assert '<span class="unsure" title="unsure: 79% sure">åt</span>' in page
    assert '<span class="doubtful" title="doubtful: 30% sure">ål.</span>' in page
    assert ">Åke<" not in page
    assert "1 to check" in page
    assert '<main lang="sv">' in page


def test_html_marks_a_whole_segment_that_has_no_words() -> None:
    page = render(Transcript((Segment(0, 900, "Hm & ja.", confidence=0.4),), "sv", 900), "html")
    assert '<span class="doubtful" title="doubtful: 40% sure">Hm &amp; ja.</span>' in page
    assert "to check" not in page


def test_html_fetches_nothing() -> None:
    page = render(HEARD, "html")
    for reach in ("http:", "https:", "//", "<script", "<link", "url(", "@import", "src="):
        assert reach not in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(
    ("format_", "empty"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("tsv", "start\tend\ttext\n")],
)
def test_silence_gives_a_valid_empty_document(format_: str, empty: str) -> None:
    assert render(SILENT, format_) == empty


def test_silence_in_the_other_formats() -> None:
    assert json.loads(render(SILENT, "json")) == {"text": "", "segments": [], "language": "sv", "duration": 5.0}
    assert not list(ElementTree.fromstring(render(SILENT, "ttml")).iter("{http://www.w3.org/ns/ttml}p"))
    assert "Nobody speaks in it." in render(SILENT, "html")


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="txt, srt, vtt, ttml, tsv, json, html"):
        render(SPOKEN, "docx")


def test_a_language_code_that_is_no_tag_is_not_written_as_one() -> None:
    assert 'xml:lang="jv"' in render(replace(SPOKEN, language="jw"), "ttml")
    assert 'xml:lang=""' in render(replace(SPOKEN, language='"><'), "ttml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_line_width": 0}, "--max-line-width can't be 0"),
        ({"max_words_per_line": -3}, "--max-words-per-line can't be -3"),
        ({"max_line_count": 2}, "--max-line-count needs --max-line-width"),
    ],
)
def test_options_that_make_no_sense_say_so(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WriterOptions(**options)


def test_which_options_need_words() -> None:
    assert not needs_words(WriterOptions())
    assert not needs_words(WriterOptions(max_line_width=42))
    for options in (
        WriterOptions(max_line_width=42, max_line_count=2),
        WriterOptions(max_words_per_line=4),
        WriterOptions(highlight_words=True),
    ):
        assert needs_words(options)
        assert lacks_words(SPOKEN, options)
        assert not lacks_words(HEARD, options)
        assert not lacks_words(SILENT, options)
    assert not lacks_words(SPOKEN, WriterOptions())
