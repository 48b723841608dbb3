"""``gputx run``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from gputx import config
from gputx.cli import engine
from gputx.cli.engine import not_for_servers
from gputx.cli.launching import launch_options
from gputx.cli.options import Sectioned, as_json, cloud, setting
from gputx.cli.say import put
from gputx.errors import ExitCode


@click.command(cls=Sectioned)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True, readable=False))
@cloud
@setting("language")
@setting("model")
@setting("task")
@setting("output_dir", "-o")
@setting("output_format", "-f")
@setting("max_line_width")
@setting("max_line_count")
@setting("max_words_per_line")
@setting("highlight_words")
@setting("word_timestamps")
@setting("initial_prompt")
@setting("hotwords")
@setting("condition_on_previous_text")
@setting("channel")
@setting("market")
@setting("instance_type")
@setting("zone")
@setting("ttl")
@setting("max_cost")
@setting("grace")
@setting("boot_timeout")
@setting("volume_rate")
@setting("bucket")
@setting("image")
@setting("subnet")
@setting("allow_cidr")
@setting("algorithm")
@setting("decoder")
@setting("compute_type")
@setting("batch_size")
@setting("temperatures")
@setting("compression_ratio_threshold")
@setting("logprob_threshold")
@setting("no_speech_threshold")
@setting("repeats_threshold")
@setting("vad")
@setting("vad_threshold")
@setting("vad_hysteresis")
@setting("vad_min_speech_ms")
@setting("vad_min_silence_ms")
@setting("vad_padding_before_ms")
@setting("vad_padding_after_ms")
@setting("max_window_seconds")
@setting("max_silence_seconds")
@click.option("--dry-run", is_flag=True, help="look and plan, launch and write nothing")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
def run(files: tuple[str, ...], dry_run: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Turn recordings into text.

    \b
      gputx run --on sandbox examples/intervju.mp3

    FILE is a recording or a video, a directory, a glob, or - for standard input. Several files share one
    instance. The text goes to stdout and, in each format asked for, to the output directory.
    """
    settings = config.load(flags)
    from gputx.cli.render import receipt  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.watched import told, watched  # noqa: PLC0415
    from gputx.workflows.run import run as workflow  # noqa: PLC0415

    request = _request(files, settings, dry_run)
    engine.for_servers(settings)
    where = where_of(settings, engine.engine(settings, word_timestamps=request.asked.word_timestamps))
    report = watched(lambda events, stop: workflow(request, where, events, stop), quiet=quiet)

    def results() -> None:
        if as_json:
            from gputx.workflows.documents import run_document  # noqa: PLC0415

            put(json.dumps(run_document(report), ensure_ascii=False, indent=2) + "\n")
        elif dry_run:
            put(receipt.plan(report))
        else:
            put(receipt.transcripts(report))

    told(results, report, quiet=quiet)
    if report.failed:
        typed_wrong = all(file.usage for file in report.failed) and len(report.failed) == len(report.files)
        raise click.exceptions.Exit(ExitCode.USAGE if typed_wrong else ExitCode.FAILED)


def _request(files: tuple[str, ...], settings: config.Configuration, dry_run: bool) -> Any:
    from gputx.workflows.outputs import formats  # noqa: PLC0415
    from gputx.workflows.work import RunRequest  # noqa: PLC0415
    from gputx.workflows.worker import Asked  # noqa: PLC0415
    from gputx_remote.writers import needs_words  # noqa: PLC0415

    writing = _writing(settings)
    return RunRequest(
        arguments=files,
        asked=Asked(
            language=language_of(settings.text("language")),
            task=settings.text("task"),
            word_timestamps=settings.flag("word_timestamps") or needs_words(writing),
            initial_prompt=settings.optional("initial_prompt"),
            hotwords=settings.optional("hotwords"),
            condition_on_previous_text=settings.flag("condition_on_previous_text"),
            **engine.decoding(settings),
        ),
        channel=channel_of(settings.optional("channel")),
        output_dir=Path(settings.text("output_dir")),
        formats=formats(settings.items("output_format")),
        writing=writing,
        dry_run=dry_run,
    )


def language_of(spoken: str) -> str | None:
    """A code for what was typed, None for auto. Raises UsageError."""
    from gputx_remote.languages import code_of  # noqa: PLC0415

    language = code_of(spoken)
    if language is None and spoken.strip().lower() != "auto":
        raise click.UsageError(f"Whisper knows no language {spoken!r}; write a code or an English name: sv, Swedish")
    return language


def channel_of(word: str | None) -> Any:
    """What ``--channel`` means. Raises UsageError."""
    if word is None or word in {"left", "right"}:
        return word
    if word.isascii() and word.isdigit() and int(word) > 0:
        return int(word)
    raise click.UsageError(f"--channel can't be {word!r}: it is left, right, or a number from 1")


def _writing(settings: config.Configuration) -> Any:
    from gputx_remote.writers import WriterOptions  # noqa: PLC0415

    try:
        return WriterOptions(
            max_line_width=settings.integer("max_line_width"),
            max_line_count=settings.integer("max_line_count"),
            max_words_per_line=settings.integer("max_words_per_line"),
            highlight_words=settings.flag("highlight_words"),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def where_of(settings: config.Configuration, engine: Any) -> Any:
    """The place that the settings describe, as a :class:`gputx.workflows.where.Where`."""
    from gputx.workflows.hosts.survey import CloudOptions  # noqa: PLC0415
    from gputx.workflows.model import Pins  # noqa: PLC0415
    from gputx.workflows.where import Where  # noqa: PLC0415

    options = CloudOptions(
        **vars(launch_options(settings)),
        image=settings.optional("image"),
        bucket=settings.optional("bucket"),
        # The default is the model of the image; only one that was asked for has to be brought there.
        model=settings.text("model") if settings.chosen("model") else None,
        engine=engine,
    )
    pins = Pins(config.state_directory() / "models.json")
    on = settings.text("on")
    return Where(
        on,
        settings.text("region"),
        settings.optional("profile"),
        options,
        pins,
        auto=settings.items("auto"),
        token=os.environ.get("GPUTX_TOKEN") or None,
        not_for_servers=not_for_servers(settings),
    )
