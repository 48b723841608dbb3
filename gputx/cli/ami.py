"""``gputx ami``: list, show, prune, copy."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gputx import config
from gputx.cli.options import as_json, cloud
from gputx.cli.say import put, say
from gputx.errors import ExitCode

if TYPE_CHECKING:
    from gputx.workflows.ami import AmiPlace, Pruned


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def ami() -> None:
    """List images, copy them, take them away.

    \b
      gputx ami list --on sandbox
    """


@ami.command("list")
@cloud
@as_json
def list_(as_json: bool, **flags: Any) -> None:
    """List the images of the account; * is the one that runs boot from.

    \b
      gputx ami list --on sandbox
    """
    from gputx.cli.render.builds import shelf  # noqa: PLC0415 - commands load what they need when they run
    from gputx.workflows.ami import images  # noqa: PLC0415
    from gputx.workflows.ami_document import shelf_document  # noqa: PLC0415

    where = _where(flags)
    found = images(where)
    put(_dumped(shelf_document(found)) if as_json else shelf(found, where.region))


@ami.command()
@click.argument("image", default="latest")
@cloud
@as_json
def show(image: str, as_json: bool, **flags: Any) -> None:
    """Show all that is known of one image: an id, a name, or latest.

    \b
      gputx ami show --on sandbox latest
    """
    from gputx.cli.render.builds import details  # noqa: PLC0415
    from gputx.workflows.ami import find, images  # noqa: PLC0415
    from gputx.workflows.ami_document import image_document  # noqa: PLC0415

    found = images(_where(flags))
    one = find(found, image)
    put(_dumped(image_document(one, found)) if as_json else details(one))


@ami.command()
@cloud
@click.option("--keep", type=click.IntRange(0), required=True, metavar="N", help="leave the newest N of each recipe")
@click.option("--dry-run", is_flag=True, help="show what would go, and take nothing away")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
def prune(keep: int, dry_run: bool, yes: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Take away built images but the newest, with their snapshots.

    \b
      gputx ami prune --keep 1 --dry-run

    Only what `gputx build-ami` made is ever taken away, and nothing that is being made.
    """
    from gputx.cli.ask import confirm  # noqa: PLC0415
    from gputx.cli.render.builds import doomed  # noqa: PLC0415
    from gputx.workflows.ami_document import pruned_document  # noqa: PLC0415

    where = _where(flags)
    only = None
    if not (yes or dry_run):
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: add --yes to take them away, or --dry-run to look")
        found = _prune(where, keep, quiet, dry_run=True)
        only = frozenset(image.id for image in found.due)
        if only:
            say(doomed(found.due, found.kept, gone=False))
            if not confirm(f"Take away {len(only)} image{'s' * (len(only) > 1)} and what they are made of?"):
                say("nothing was taken away")
                raise click.exceptions.Exit(ExitCode.FAILED)
    pruned = _prune(where, keep, quiet, dry_run=dry_run, only=only)
    try:
        images = pruned.due if dry_run else pruned.gone
        put(_dumped(pruned_document(pruned)) if as_json else doomed(images, pruned.kept, gone=not dry_run))
    finally:
        if pruned.ending:
            raise pruned.ending


@ami.command()
@click.argument("image")
@cloud
@click.option("--to", required=True, metavar="REGION", help="the region it is copied to")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
def copy(image: str, to: str, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Copy an image to another region: an id, a name, or latest.

    \b
      gputx ami copy latest --to eu-west-1
    """
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.ami import copy as workflow  # noqa: PLC0415
    from gputx.workflows.ami_document import copy_document  # noqa: PLC0415

    where = _where(flags)
    copied = watched(lambda events, stop: workflow(where, image, to, events, stop), quiet=quiet)
    there = " (it was there already)" if copied.found else ""
    put(_dumped(copy_document(copied)) if as_json else f"{copied.image_id}  in {copied.region}{there}\n")


def _prune(where: AmiPlace, keep: int, quiet: bool, *, dry_run: bool, only: frozenset[str] | None = None) -> Pruned:
    from gputx.cli.watched import watched  # noqa: PLC0415
    from gputx.workflows.ami import prune as workflow  # noqa: PLC0415

    return watched(
        lambda events, stop: workflow(where, keep, events, stop, dry_run=dry_run, only=only),
        quiet=quiet,
        last=not dry_run,
    )


def _where(flags: dict[str, Any]) -> AmiPlace:
    from gputx.workflows.ami import AmiPlace  # noqa: PLC0415

    settings = config.load(flags)
    if settings.text("on") == "local":
        raise click.UsageError("an account has images, this machine has none; use --on aws or --on sandbox")
    return AmiPlace(settings.text("on"), settings.text("region"), settings.optional("profile"))


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
