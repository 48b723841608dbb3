"""Settings of subtitles: where they may be set, what is refused, and what they ask of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gputx import config
from gputx.cli import run as command
from gputx.cli.options import setting
from gputx.clock import Stop, SystemClock
from gputx.errors import ConfigurationError, InputError
from gputx.events import Event, EventStream, Note
from gputx.models import FileReport, RunReport
from gputx.workflows.documents import run_document
from gputx.workflows.inputs import Source
from gputx.workflows.jobs import Job
from gputx.workflows.outputs import write
from gputx.workflows.story import Story
from gputx.workflows.work import RunRequest, Work
from gputx.workflows.worker import Asked
from gputx_remote.transcript import Segment, Transcript, Word
from gputx_remote.writers import WriterOptions


def load(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: Any) -> config.Configuration:
    (tmp_path / "gputx.toml").write_text(toml)
    return config.load(flags, environ=environ or {}, cwd=tmp_path, user_file=tmp_path / "none.toml")


def request(settings: config.Configuration) -> Any:
    return command._request(("a.mp3",), settings, dry_run=True)


def test_whole_numbers_and_flags_come_from_every_source(tmp_path: Path) -> None:
    assert load(tmp_path).integer("max_line_width") is None
    assert load(tmp_path, "max_line_width = 42").integer("max_line_width") == 42
    assert load(tmp_path, 'max_line_width = "42"').integer("max_line_width") == 42
    assert load(tmp_path, environ={"GPUTX_MAX_LINE_WIDTH": "37"}).integer("max_line_width") == 37
    assert not load(tmp_path).flag("highlight_words")
    assert load(tmp_path, "highlight_words = true").flag("highlight_words")
    assert load(tmp_path, environ={"GPUTX_HIGHLIGHT_WORDS": "yes"}).flag("highlight_words")
    # A flag that says no wins over a file that says yes.
    assert not load(tmp_path, "highlight_words = true", highlight_words=False).flag("highlight_words")


@pytest.mark.parametrize("value", ["0", "-1", "4.5", "wide", "", "1_0", "٤", "9" * 5000])
def test_a_limit_is_a_whole_number_from_one(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match="--max-line-width can't be"):
        load(tmp_path, max_line_width=value)


@pytest.mark.parametrize("line", ["max_line_width = true", "max_line_width = 42.0", "highlight_words = 1"])
def test_a_settings_file_has_to_give_the_right_kind(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path, line)


def test_a_flag_is_spelled_our_way_or_whispers() -> None:
    @click.command()
    @click.argument("files", nargs=-1)
    @setting("word_timestamps")
    def probe(files: tuple[str, ...], **flags: Any) -> None:
        click.echo(f"{files} {config.load(flags, environ={}).flag('word_timestamps')}")

    for arguments, expected in [
        (["a"], False),
        (["--word-timestamps", "a"], True),
        (["--word_timestamps", "True", "a"], True),
        (["a", "--word_timestamps", "False"], False),
        (["--no-word-timestamps", "a"], False),
    ]:
        assert CliRunner().invoke(probe, arguments).output == f"('a',) {expected}\n"


def test_cutting_inside_segments_asks_for_word_times(tmp_path: Path) -> None:
    assert not request(load(tmp_path)).asked.word_timestamps
    assert not request(load(tmp_path, max_line_width=42)).asked.word_timestamps
    assert request(load(tmp_path, word_timestamps=True)).asked.word_timestamps
    asked = request(load(tmp_path, max_line_width=42, max_line_count=2))
    assert asked.asked.word_timestamps
    assert asked.writing == WriterOptions(max_line_width=42, max_line_count=2)


def test_a_line_count_alone_is_a_mistake_in_usage(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--max-line-count needs"):
        request(load(tmp_path, max_line_count=2))


def test_files_are_written_as_asked(tmp_path: Path) -> None:
    transcript = Transcript((Segment(0, 2_000, "ett två tre fyra"),), "sv", 2_000)
    write(
        transcript,
        directory=tmp_path,
        stem="a",
        chosen=["srt", "html"],
        options=WriterOptions(max_line_width=8),
        title="b.mp3",
    )
    assert "\nett två\ntre fyra\n" in (tmp_path / "a.srt").read_text()
    assert "<h1>b.mp3</h1>" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(("formats", "words", "warned"), [("srt", (), 1), ("txt", (), 0), ("srt", ("Hej.",), 0)])
def test_subtitles_that_lack_word_times_say_so(
    tmp_path: Path, formats: str, words: tuple[str, ...], warned: int
) -> None:
    heard: list[Event] = []
    segment = Segment(0, 900, "Hej.", tuple(Word(0, 900, word, 0.9) for word in words))
    file = FileReport("a.mp3", Transcript((segment,), "sv", 900), 1.0)
    job = Job("f0", Source("a.mp3", Path("a.mp3"), "a"), "a", file, 0.9)
    asked = RunRequest(
        arguments=("a.mp3",),
        asked=Asked("sv", "transcribe", word_timestamps=True),
        output_dir=tmp_path,
        formats=(formats,),
        writing=WriterOptions(max_words_per_line=3),
    )
    story = Story(EventStream([heard.append]), SystemClock())
    Work(asked, RunReport("r1", "local", 100.0), [job], story, Stop())._finish(job)
    assert sum("without word times" in event.text for event in heard if isinstance(event, Note)) == warned
    assert file.outputs == [tmp_path / f"a.{formats}"]


def test_the_document_carries_words_and_doubts() -> None:
    segment = Segment(0, 900, "Hej.", (Word(0, 900, "Hej.", 0.4),), confidence=0.4, suspect=True)
    report = RunReport("r1", "local", 100.0)
    report.files = [FileReport("a.mp3", Transcript((segment,), "sv", 900), 1.0)]
    assert run_document(report)["files"][0]["segments"] == [
        {
            "start": 0.0,
            "end": 0.9,
            "text": "Hej.",
            "confidence": 0.4,
            "suspect": True,
            "words": [{"word": "Hej.", "start": 0.0, "end": 0.9, "probability": 0.4}],
        }
    ]
