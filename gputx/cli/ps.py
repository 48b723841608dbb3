"""``gputx ps``."""

from __future__ import annotations

import json
from typing import Any

import click

from gputx import config
from gputx.cli.options import as_json, cloud
from gputx.cli.say import put, say


@click.command()
@cloud
@as_json
def ps(as_json: bool, **flags: Any) -> None:
    """List what is running, and what it has cost.

    \b
      gputx ps --on sandbox
    """
    settings = config.load(flags)
    from gputx.cli.render.tables import instances  # noqa: PLC0415
    from gputx.workflows.ps import running  # noqa: PLC0415

    if settings.text("on") == "local":
        raise click.UsageError("nothing of --on local outlives its command; use --on aws or --on sandbox")
    found = running(settings.text("on"), region=settings.text("region"), profile=settings.optional("profile"), note=say)
    if as_json:
        rows = [
            {
                "instance_id": r.instance.id,
                "state": r.instance.state,
                "instance_type": r.instance.instance_type,
                "zone": r.instance.zone,
                "market": r.instance.market,
                "run": r.run_id,
                "owner": r.owner,
                "age_seconds": round(r.age, 1),
                "deadline": r.deadline,
                "cost": r.cost,
            }
            for r in found
        ]
        put(json.dumps({"version": 1, "instances": rows}, indent=2) + "\n")
    else:
        put(instances(found))
