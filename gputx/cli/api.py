"""``gputx api``: up, down, status, url, token, logs, tunnel, serve."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from gputx import config
from gputx.cli import engine
from gputx.cli.launching import launch_options
from gputx.cli.options import Sectioned, as_json, cloud, debug, setting
from gputx.cli.say import put, say
from gputx.errors import ExitCode, InputError, InterruptedBySignal
from gputx.units import parse_duration

if TYPE_CHECKING:
    from gputx.workflows.api.commands import ApiPlace

PORT = 8000
quiet_option = click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, metavar="N", help="of this machine; 0: any  [default: 8000]"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def api() -> None:
    """A server that people and programs send recordings to.

    \b
      gputx api up

    Brought up on a GPU instance, which ends by itself when nobody uses it; or run here, with `gputx api serve`.
    """


@api.command(cls=Sectioned)
@cloud
@setting("idle_timeout")
@setting("max_lifetime")
@setting("max_cost")
@click.option("--market", type=click.Choice(("on-demand", "spot", "auto")), help="[default: on-demand]")
@setting("instance_type")
@setting("zone")
@setting("model")
@setting("image")
@setting("bucket")
@setting("subnet")
@setting("allow_cidr")
@setting("grace")
@setting("boot_timeout")
@setting("volume_rate")
@setting("algorithm")
@setting("decoder")
@setting("compute_type")
@setting("batch_size")
@click.option("--public", is_flag=True, help="open to --allow-cidr by TLS, with a certificate of its own")
@click.option("--another", is_flag=True, help="though one is up that was brought up from another machine")
@click.option("--keep-alive", is_flag=True, help="stay, hold a tunnel open, and replace it if it is lost")
@port_option
@as_json
@quiet_option
def up(*, public: bool, another: bool, keep_alive: bool, port: int, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Bring a server up, or find the one that is; say how to use it.

    \b
      gputx api up --idle-timeout 1h

    A server of an older gputx is brought up to date; what is queued there is kept. It is reached through a tunnel
    (`gputx api tunnel`), or with --public from the address ranges given.
    """
    settings = config.load(flags)
    from gputx.cli.render import servers  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.api.commands import bring_up  # noqa: PLC0415

    where = _where(settings)
    request = up_request(settings, _engine(settings), public=public, another=another)
    report = watched(lambda events, stop: bring_up(request, where, events, stop), quiet=quiet, last=not keep_alive)
    if report.ending:
        raise report.ending
    put(json.dumps(servers.up_document(report), indent=2) + "\n" if as_json else servers.up(report))
    if keep_alive:
        _hold(settings, port, quiet=quiet, keep_alive=True)


@api.command()
@cloud
@click.option("--drain", metavar="TIME", help="first wait so long for the jobs it has: 90s, 15m")
@as_json
@quiet_option
def down(drain: str | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """End the server, and all that was made for it.

    \b
      gputx api down
    """
    settings = config.load(flags)
    from gputx.cli.render import servers  # noqa: PLC0415
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.api.commands import take_down  # noqa: PLC0415

    where, patience = _where(settings), None if drain is None else parse_duration(drain)
    report = watched(lambda events, stop: take_down(where, events, stop, drain=patience), quiet=quiet)
    try:
        put(json.dumps(servers.down_document(report), indent=2) + "\n" if as_json else servers.down(report))
    finally:
        if report.ending:
            raise report.ending


@api.command()
@cloud
@as_json
def status(as_json: bool, **flags: Any) -> None:
    """Show how the server is; the exit code is 0 where it answers, else 1.

    \b
      gputx api status
    """
    settings = config.load(flags)
    from gputx.cli.render import servers  # noqa: PLC0415
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.api.commands import standing  # noqa: PLC0415

    where = _where(settings)
    found = watched(lambda _, stop: standing(where, stop, say), quiet=True)
    put(json.dumps(servers.status_document(found), indent=2) + "\n" if as_json else servers.status(found))
    if not any(one.healthy for one in found):
        raise click.exceptions.Exit(ExitCode.FAILED)


@api.command()
@cloud
def url(**flags: Any) -> None:
    """Print the server's address.

    \b
      curl -H "Authorization: Bearer $(gputx api token)" -F audio=@intervju.mp3 $(gputx api url)/transcribe
    """
    from gputx.workflows.api.commands import newest  # noqa: PLC0415

    server = newest(_where(config.load(flags)))
    put(f"{server.public_url or f'http://127.0.0.1:{PORT}'}\n")
    if server.public_url is None:
        say("through a tunnel: gputx api tunnel")


@api.command()
@cloud
def token(**flags: Any) -> None:
    """Print the server's token.

    \b
      export GPUTX_TOKEN=$(gputx api token)
    """
    from gputx.workflows.api.commands import newest  # noqa: PLC0415

    put(f"{newest(_where(config.load(flags))).token}\n")


@api.command()
@cloud
@click.option("--lines", "-n", type=click.IntRange(1), default=100, metavar="N", help="[default: 100]")
@click.option("--follow", "-f", is_flag=True, help="and what comes, until Ctrl-C")
def logs(lines: int, follow: bool, **flags: Any) -> None:
    """Print the server's log.

    \b
      gputx api logs -f
    """
    settings = config.load(flags)
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.api.commands import show_log  # noqa: PLC0415

    where = _where(settings)
    write = lambda line: put(line + "\n")  # noqa: E731
    watched(lambda _, stop: show_log(where, stop, write, lines=lines, follow=follow), quiet=True)


@api.command()
@cloud
@port_option
@quiet_option
def tunnel(port: int, quiet: bool, **flags: Any) -> None:
    """Hold a tunnel to the server open, until Ctrl-C.

    \b
      gputx api tunnel --port 8000

    It is opened again when it breaks. A spot server that AWS takes away is replaced meanwhile by one like it, within
    the time and the money that it came up with.
    """
    _hold(config.load(flags), port, quiet=quiet, keep_alive=False)


@api.command(cls=Sectioned)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="[default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, metavar="N", help="[default: 8000]")
@setting("model")
@setting("algorithm")
@setting("decoder")
@setting("compute_type")
@setting("batch_size")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="certificate chain, PEM")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="its key, PEM")
@debug
def serve(host: str, port: int, tls_cert: str | None, tls_key: str | None, **flags: Any) -> None:
    """Run the server here, on this machine's GPU or CPU, until Ctrl-C.

    \b
      gputx api serve --model KBLab/kb-whisper-small

    Its token is that in GPUTX_TOKEN, or is made and printed once.
    """
    settings = config.load(flags)
    from gputx.workflows.api.serve import ServeRequest, announce, serve_here  # noqa: PLC0415
    from gputx.workflows.model import Pins, choose  # noqa: PLC0415

    model = choose(
        settings.text("model"),
        Pins(config.state_directory() / "models.json"),
        elsewhere=False,
        engine=_engine(settings),
    )
    given = os.environ.get("GPUTX_TOKEN") or None
    request = ServeRequest(host, port, model, config.state_directory() / "server", given, tls_cert, tls_key)
    code = serve_here(request, lambda made: say(announce(request, made)))
    if code:
        raise click.exceptions.Exit(code)


def up_request(settings: config.Configuration, chosen: Any, *, public: bool, another: bool = False) -> Any:
    """What a server is brought up with, as a :class:`gputx.workflows.api.request.UpRequest`."""
    from dataclasses import replace  # noqa: PLC0415

    from gputx.workflows.api.request import UpRequest  # noqa: PLC0415
    from gputx.workflows.model import Pins, choose  # noqa: PLC0415

    # A server is there for hours and for many: what a run asks for by default is not what one wants here.
    market = settings.text("market") if settings.chosen("market") else "on-demand"
    if public and not settings.items("allow_cidr"):
        raise InputError(
            "--public opens the server to address ranges, and none is given", hint="--allow-cidr 203.0.113.0/24"
        )
    options = launch_options(settings, market=market, lifetime="max_lifetime")
    said = {name for name in ("model", "idle_timeout", "max_lifetime", "max_cost") if settings.chosen(name)}
    if any(settings.chosen(name) for name in ("algorithm", "decoder", "compute_type", "batch_size")):
        said.add("engine")
    model = None
    if settings.chosen("model"):
        pins = Pins(config.state_directory() / "models.json")
        model = choose(settings.text("model"), pins, elsewhere=True, engine=chosen)
    return UpRequest(
        # Those ranges are for the server's own port; SSH is for this machine alone.
        options=replace(options, cidrs=()) if public else options,
        image=settings.optional("image"),
        model=model,
        engine=chosen,
        idle_timeout=settings.seconds("idle_timeout"),
        public=public,
        port=PORT,
        bucket=settings.optional("bucket"),
        instance_role=settings.text("instance_role"),
        cidrs=settings.items("allow_cidr") if public else (),
        another=another,
        chosen=frozenset(said),
    )


def _hold(settings: config.Configuration, port: int, *, quiet: bool, keep_alive: bool) -> None:
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.api.commands import hold_tunnel  # noqa: PLC0415

    where = _where(settings)
    try:
        watched(lambda events, stop: hold_tunnel(where, events, stop, port=port, keep_alive=keep_alive), quiet=quiet)
    except InterruptedBySignal as error:
        raise click.exceptions.Exit(error.exit_code) from None


def _engine(settings: config.Configuration) -> Any:
    return engine.engine(settings, word_timestamps=False)


def _where(settings: config.Configuration) -> ApiPlace:
    from gputx.workflows.api.commands import ApiPlace  # noqa: PLC0415

    on = settings.text("on")
    if on == "local":
        raise click.UsageError("on this machine it is `gputx api serve`; else --on aws or --on sandbox")
    return ApiPlace(on, settings.text("region"), settings.optional("profile"))
