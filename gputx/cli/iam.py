"""``gputx iam``."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from gputx import config
from gputx import iam as policies
from gputx.cli.options import as_json, cloud, debug, setting
from gputx.cli.render.words import columns
from gputx.cli.say import put, say


@click.group()
def iam() -> None:
    """Print the permissions gputx needs, as IAM policies.

    \b
      gputx iam show run
    """


@iam.command()
@click.argument("name", default="operator", metavar="[COMMAND]")
@cloud
@setting("bucket")
@setting("instance_role")
@click.option("--account", metavar="ID", help="the account's twelve digits (that of the credentials in use)")
@click.option("--trust", is_flag=True, help="of a role: who may assume it")
@click.option("--template", is_flag=True, help="leave the placeholders in: ${Account}, ${Region}, ${Bucket}, …")
def show(name: str, account: str | None, trust: bool, template: bool, **flags: Any) -> None:
    """Print one policy, filled in for your account. Without a COMMAND: that of all commands.

    \b
      gputx iam show run > policy.json
      aws iam create-policy --policy-name gputx-run --policy-document file://policy.json

    COMMAND is a command of gputx (run, reap, setup, …); user, baker or owner: several commands that go together; or
    instance or scheduler: what the roles of that name may do. `gputx iam list` lists them. It allows all regions,
    unless one is set.
    """
    settings = config.load(flags)
    if template:
        policy = policies.trust_template(name) if trust else policies.template(name)
    else:
        policy = _filled(name, account, trust, settings)
    put(json.dumps(policy, indent=2) + "\n")
    size, limit = policies.characters(policy), policies.MANAGED_POLICY_CHARACTERS
    if size > limit and not template:
        say(f"note: {size} characters, and IAM takes {limit} in a managed policy: attach its parts instead")
        say(f"  next: gputx iam show {', '.join(policies.PEOPLE)}: one policy each")


def _filled(name: str, account: str | None, trust: bool, settings: config.Configuration) -> dict[str, Any]:
    from gputx.workflows.iam import Names, policy  # noqa: PLC0415 - commands load what they need when they run

    if account is not None and not re.fullmatch("[0-9]{12}", account, re.ASCII):
        raise click.UsageError(f"--account can't be {account!r}: an account has twelve digits")
    if account is None and settings.text("on") == "local":
        raise click.UsageError("--on local has no account: say --account, or --on aws")
    bucket = settings.optional("bucket")
    names = Names(
        on=settings.text("on"),
        region=settings.text("region"),
        profile=settings.optional("profile"),
        account=account,
        only_region=settings.origins["region"] != "default",
        bucket=None if bucket == "none" else bucket,
        instance_role=settings.text("instance_role"),
    )
    return policy(name, names, trust=trust)


@iam.command(name="list")
@as_json
@debug
def list_(as_json: bool) -> None:
    """List the policies there are.

    \b
      gputx iam list
    """
    rows = [(name, _what(name)) for name in policies.names()]
    if as_json:
        put(json.dumps({"version": 1, "policies": [{"name": n, "what": w} for n, w in rows]}, indent=2) + "\n")
    else:
        put(columns(rows))


def _what(name: str) -> str:
    told = {
        "operator": "a person who uses every command",
        "instance": "the role of instances",
        "scheduler": "the role of the schedules that end instances",
        **{part: f"a person who uses {', '.join(commands)}" for part, commands in policies.PEOPLE.items()},
    }
    return told.get(name, f"gputx {name}")
