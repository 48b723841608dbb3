"""``gputx build-ami``."""

from __future__ import annotations

import json
from typing import Any

import click

from gputx import config
from gputx.cli.launching import launch_options
from gputx.cli.options import Sectioned, as_json, cloud, setting
from gputx.cli.say import put
from gputx.units import parse_duration


@click.command("build-ami", cls=Sectioned)
@cloud
@click.option("--recipe", "recipe_name", metavar="NAME", help="what it is for: t4, or cpu  [default: what fits there]")
@click.option("--base", metavar="IMAGE", help="begin with this image (ami-…, or ssm:PARAMETER) instead of Ubuntu 22.04")
@click.option("--driver", metavar="BRANCH", help="NVIDIA's driver branch")
@click.option("--cuda", metavar="BUILD", help="the CUDA that torch is built for: cu128")
@click.option("--python", metavar="VERSION", help="3.12")
@click.option("--model", metavar="ID", help="a model of the Hugging Face hub")
@click.option("--model-revision", metavar="COMMIT", help="its commit, 40 digits")
@setting("market")
@setting("instance_type")
@setting("zone")
@setting("ttl")
@setting("max_cost")
@setting("grace")
@setting("boot_timeout")
@setting("volume_rate")
@setting("subnet")
@setting("allow_cidr")
@click.option("--force", is_flag=True, help="build even where there is an image of the same inputs")
@click.option("--resume", is_flag=True, help="go on with the builder that was kept last")
@click.option("--keep-on-failure", metavar="TIME", help="leave a builder that failed to be looked at, for so long: 2h")
@click.option("--dry-run", is_flag=True, help="show what would be built, and launch nothing")
@click.option("--junit", type=click.Path(dir_okay=False, writable=True), help="write the checks here, too")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
def build_ami(dry_run: bool, as_json: bool, quiet: bool, junit: str | None, **flags: Any) -> None:
    """Build and check the image that runs boot from.

    \b
      gputx build-ami --on sandbox

    A builder is launched, the recipe's steps are run on it, and the image is made once every check has passed on it
    and, once more, on a fresh instance of the image. Where there is an image of the same inputs, nothing is built.
    """
    from gputx.cli.render.builds import built, planned  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.build_ami import build  # noqa: PLC0415
    from gputx.workflows.build_document import build_document, junit_document  # noqa: PLC0415

    own = {name: flags.pop(name) for name in ("force", "resume", "keep_on_failure", "recipe_name", *_CHOICES)}
    settings = config.load(flags)
    if settings.text("on") == "local":
        raise click.UsageError("an image is made of an instance; use --on aws or --on sandbox")
    request = _request(settings, dry_run, **own)
    where = _where(settings, request)
    report = watched(lambda events, stop: build(request, where, events, stop), quiet=quiet)
    try:
        if junit and report.checked:
            _write(junit, junit_document(report))
        if as_json:
            put(json.dumps(build_document(report), ensure_ascii=False, indent=2) + "\n")
        else:
            put(planned(report, request.recipe) if dry_run and not report.ending else built(report))
    finally:
        # Whatever becomes of the results: how it ended, and what may still run, has to be said.
        if report.ending:
            raise report.ending


_CHOICES = ("base", "driver", "cuda", "python", "model", "model_revision")


def _request(settings: config.Configuration, dry_run: bool, **own: Any) -> Any:
    from gputx.ami.options import Options  # noqa: PLC0415
    from gputx.ami.recipe import load  # noqa: PLC0415
    from gputx.workflows.build_request import BuildRequest  # noqa: PLC0415
    from gputx.workflows.place import recipe_for  # noqa: PLC0415

    recipe = load(own["recipe_name"] or recipe_for(settings.text("on")), Options(**{n: own[n] for n in _CHOICES}))
    keep = own["keep_on_failure"]
    if own["resume"] and own["force"]:
        raise click.UsageError("--resume goes on with what was begun, --force begins anew: one of the two")
    if keep is not None and not config.SHORTEST_SECONDS <= parse_duration(keep) <= config.LONGEST_SECONDS:
        raise click.UsageError(f"--keep-on-failure can't be {keep}: from 1m to 24h, because it costs money")
    return BuildRequest(
        recipe=recipe,
        force=own["force"],
        resume=own["resume"],
        keep=None if keep is None else parse_duration(keep),
        dry_run=dry_run,
    )


def _where(settings: config.Configuration, request: Any) -> Any:
    from gputx.workflows.build_request import BuildPlace  # noqa: PLC0415

    chosen = settings.items("instance_type") if settings.chosen("instance_type") else None
    options = launch_options(settings, instance_types=chosen or request.recipe.profile.instance_types)
    return BuildPlace(settings.text("on"), settings.text("region"), settings.optional("profile"), options)


def _write(path: str, text: str) -> None:
    from gputx.cli.say import OutputError  # noqa: PLC0415

    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - a path as it was typed
            file.write(text)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror}") from None
