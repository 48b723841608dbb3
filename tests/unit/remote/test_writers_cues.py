"""Subtitles cut by width, count and words: where lines end, and when cues come and go."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
import srt

from gputx_remote.transcript import Segment, Transcript, Word
from gputx_remote.writers import WriterOptions, render

TWO_LINES = WriterOptions(max_line_width=42, max_line_count=2)


def spoken(text: str, *, words: bool = True, language: str = "sv", pause_ms: int = 0) -> Transcript:
    """One segment of words of 300 ms with 100 ms between them, and a pause after the third."""
    timed, now = [], 1_000
    for number, word in enumerate(text.split()):
        now += pause_ms if number == 3 else 0
        timed.append(Word(now, now + 300, word, 0.9))
        now += 400
    return Transcript((Segment(800, now, text, tuple(timed) if words else ()),), language, now + 1_000)


def cues(transcript: Transcript, options: WriterOptions) -> list[srt.Subtitle]:
    return list(srt.parse(render(transcript, "srt", options)))


def texts(transcript: Transcript, options: WriterOptions) -> list[str]:
    return [cue.content for cue in cues(transcript, options)]


def ms(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A comma is a better end than the last word that fits.
        ("Ja, det var en gång en fiskare som hette Åke", ["Ja, det var en gång en fiskare\nsom hette Åke"]),
        (
            "Hej och välkommen till sommarens program, där vi talar om havet",
            ["Hej och välkommen till sommarens program,\ndär vi talar om havet"],
        ),
        # Never on an article or a preposition.
        ("Då gick vi hela vägen upp till kyrkan på en höjd", ["Då gick vi hela vägen upp\ntill kyrkan på en höjd"]),
        # A short sentence alone on a line is worse than two even lines.
        (
            "Ja, sedan gick vi alla hem till honom i kväll",
            ["Ja, sedan gick vi alla\nhem till honom i kväll"],
        ),
        # Three lines: the cue ends with the sentence, wherever that leaves the lines.
        (
            "Det regnade hela dagen i Malmö. Sedan kom solen fram över sundet och alla badade hela kvällen",
            [
                "Det regnade hela dagen i Malmö.",
                "Sedan kom solen fram över sundet\noch alla badade hela kvällen",
            ],
        ),
        # What fits on one line stays there.
        ("Kaffe, te, eller mjölk?", ["Kaffe, te, eller mjölk?"]),
    ],
)
def test_lines_end_where_a_reader_pauses(text: str, expected: list[str]) -> None:
    assert texts(spoken(text), TWO_LINES) == expected


def test_a_word_wider_than_a_line_has_its_own() -> None:
    assert texts(spoken("en spårvagnsaktiebolagsskensmutsskjutare på rälsen"), WriterOptions(max_line_width=20)) == [
        "en\nspårvagnsaktiebolagsskensmutsskjutare\npå rälsen"
    ]


def test_a_width_alone_keeps_a_segment_in_one_cue() -> None:
    transcript = spoken("ord " * 40, words=False)
    (cue,) = cues(transcript, WriterOptions(max_line_width=20))
    assert (ms(cue.start), ms(cue.end)) == (800, transcript.segments[0].end_ms)
    assert all(len(line) <= 20 for line in cue.content.split("\n"))
    assert len(cue.content.split("\n")) == 8


def test_words_per_line_alone_makes_cues_of_one_line() -> None:
    made = cues(spoken("ett två tre fyra fem sex sju"), WriterOptions(max_words_per_line=3))
    assert all(len(cue.content.split()) <= 3 and "\n" not in cue.content for cue in made)
    assert len(made) == 3
    two = cues(spoken("ett två tre fyra fem sex sju"), WriterOptions(max_words_per_line=3, max_line_count=2))
    assert len(two) == 2


def test_a_cue_lasts_from_its_first_word_to_its_last() -> None:
    made = cues(spoken("ett två tre fyra"), WriterOptions(max_words_per_line=2))
    assert [(ms(cue.start), ms(cue.end)) for cue in made] == [(1_000, 1_700), (1_800, 2_500)]


def test_without_word_times_a_segments_time_is_shared_by_length() -> None:
    transcript = Transcript((Segment(1_000, 3_000, "aaaa bbbb cccc dddd"),), "sv", 3_000)
    made = cues(transcript, WriterOptions(max_words_per_line=2))
    # 19 characters in 2000 ms: the second line begins after ten.
    assert [(ms(cue.start), ms(cue.end)) for cue in made] == [(1_000, 1_947), (2_052, 3_000)]


@pytest.mark.parametrize("heard", ["tre", "ett", "två", "ett tvåa"])
def test_words_that_are_not_the_text_are_not_used(heard: str) -> None:
    words = tuple(Word(100, 200, word, 0.9) for word in heard.split())
    strange = Transcript((Segment(0, 1_000, "ett två", words),), "sv", 1_000)
    (cue,) = cues(strange, WriterOptions(highlight_words=True))
    assert (ms(cue.start), ms(cue.end), cue.content) == (0, 1_000, "ett två")
    assert ">ett två</p>" in render(strange, "html")


def test_a_long_pause_ends_a_cue() -> None:
    text = "ett två tre fyra fem"
    assert texts(spoken(text, pause_ms=3_000), TWO_LINES) == ["ett två tre", "fyra fem"]
    assert texts(spoken(text, pause_ms=2_900), TWO_LINES) == [text]
    assert texts(spoken(text, pause_ms=3_000), WriterOptions()) == [text]


def test_each_word_is_underlined_while_it_is_spoken() -> None:
    made = cues(spoken("ett två tre", pause_ms=0), WriterOptions(max_words_per_line=2, highlight_words=True))
    assert [(ms(cue.start), ms(cue.end), cue.content) for cue in made] == [
        (1_000, 1_300, "<u>ett</u> två"),
        (1_300, 1_400, "ett två"),
        (1_400, 1_700, "ett <u>två</u>"),
        (1_800, 2_100, "<u>tre</u>"),
    ]


def test_a_highlighted_word_is_escaped_and_so_is_the_rest() -> None:
    vtt = render(spoken("<b> & c"), "vtt", WriterOptions(highlight_words=True))
    assert "<u>&lt;b&gt;</u> &amp; c\n" in vtt
    ttml = render(spoken("<b> & c"), "ttml", WriterOptions(highlight_words=True))
    assert '<span style="spoken">&lt;b&gt;</span> &amp; c<' in ttml


@pytest.mark.parametrize("words", [True, False])
def test_a_language_without_spaces_is_cut_between_characters(words: bool) -> None:
    said = "今日はとても良い天気ですね"
    timed = tuple(Word(n * 100, n * 100 + 100, character, 0.9) for n, character in enumerate(said)) if words else ()
    transcript = Transcript((Segment(0, 1_300, said, timed),), "ja", 1_300)
    made = cues(transcript, WriterOptions(max_line_width=5, max_line_count=1))
    assert "".join(cue.content for cue in made) == said
    assert all(len(cue.content) <= 5 for cue in made)
    assert made[0].start == timedelta(0)
    assert all(after.start == before.end for before, after in pairwise(made))


def test_lines_are_as_few_as_greedy_ones() -> None:
    text = "det var en gång en liten pojke som bodde i ett hus vid havet med sin mor och sin far och en katt"
    for width in range(8, 60):
        line, greedy = "", 0
        for word in text.split():
            if line and len(f"{line} {word}") > width:
                line, greedy = "", greedy + 1
            line = f"{line} {word}" if line else word
        (cue,) = texts(spoken(text), WriterOptions(max_line_width=width))
        assert len(cue.split("\n")) == greedy + 1
        assert max(map(len, cue.split("\n"))) <= width
