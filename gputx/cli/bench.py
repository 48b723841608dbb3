"""``gputx bench``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from gputx import config
from gputx.cli.options import as_json, debug, setting
from gputx.cli.say import put
from gputx_remote.engine.choice import ALGORITHMS, COMPUTE_TYPES, DECODERS

F = TypeVar("F", bound=Callable[..., Any])


def _only(name: str, known: Sequence[str], what: str) -> Callable[[F], F]:
    """An option that narrows the field; one value of its own each time, and every value without it."""
    words = f"only this {what}; may be repeated  [default: all]"
    return click.option(
        f"--{name}", f"only_{name.replace('-', '_')}", multiple=True, type=click.Choice(known), help=words
    )


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@click.option(
    "--reference",
    metavar="TEXT",
    type=click.Path(path_type=Path, readable=False),
    help="a text file with what is said; then word errors are counted",
)
@click.option(
    "--on",
    type=click.Choice(("local", "aws", "sandbox")),
    default="local",
    help="where to measure, whatever the settings say for run  [default: local]",
)
@_only("decoder", DECODERS[1:], "decoder")
@_only("algorithm", ALGORITHMS[1:], "algorithm")
@_only("compute-type", COMPUTE_TYPES[1:], "arithmetic")
@click.option(
    "--rounds",
    type=click.IntRange(1, 99),
    default=1,
    metavar="N",
    help="turns of each; medians are shown  [default: 1]",
)
@setting("region")
@setting("profile")
@setting("language")
@setting("model")
@setting("output_dir", "-o")
@setting("channel")
@setting("batch_size")
@setting("market")
@setting("instance_type")
@setting("zone")
@setting("ttl")
@setting("max_cost")
@setting("grace")
@setting("boot_timeout")
@setting("volume_rate")
@setting("image")
@setting("subnet")
@setting("allow_cidr")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
@debug
def bench(file: str, reference: Path | None, rounds: int, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Measure every decoder on a recording of your own.

    \b
      gputx bench intervju.mp3 --reference intervju.txt
      gputx bench intervju.mp3 --on aws

    On this machine, or on one instance: seconds, speed, time to the first text, memory and, with a reference, word
    errors of each decoder that can run there. The table goes to stdout, a picture of it to the output directory as
    NAME.bench.svg.
    """
    only = {name: flags.pop(f"only_{name}") for name in ("algorithm", "decoder", "compute_type")}
    settings = config.load(flags)
    from gputx.cli.render.bench import table  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.run import where_of  # noqa: PLC0415
    from gputx.cli.watched import told, watched  # noqa: PLC0415
    from gputx.workflows.bench import BenchRequest  # noqa: PLC0415
    from gputx.workflows.bench import bench as workflow  # noqa: PLC0415
    from gputx.workflows.bench_report import Wanted  # noqa: PLC0415
    from gputx.workflows.model import Engine  # noqa: PLC0415

    wanted = Wanted(only["algorithm"], only["decoder"], only["compute_type"])
    request = BenchRequest(_request(file, settings), wanted, rounds, reference)
    where = where_of(settings, Engine(batch_size=settings.integer("batch_size")))
    report = watched(lambda events, stop: workflow(request, where, events, stop), quiet=quiet)

    def results() -> None:
        if as_json:
            from gputx.workflows.bench_document import bench_document  # noqa: PLC0415

            put(json.dumps(bench_document(report), ensure_ascii=False, indent=2) + "\n")
        else:
            put(table(report))

    told(results, report.run, quiet=quiet)


def _request(file: str, settings: config.Configuration) -> Any:
    from gputx.cli.run import channel_of, language_of  # noqa: PLC0415
    from gputx.workflows.work import RunRequest  # noqa: PLC0415
    from gputx.workflows.worker import Asked  # noqa: PLC0415

    return RunRequest(
        arguments=(file,),
        asked=Asked(language_of(settings.text("language")), "transcribe"),
        channel=channel_of(settings.optional("channel")),
        output_dir=Path(settings.text("output_dir")),
        formats=(),
    )
