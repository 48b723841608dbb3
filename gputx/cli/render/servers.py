"""What ``gputx api up``, ``down`` and ``status`` print."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gputx.units import duration, money
from gputx.workflows.api.report import ApiReport, Standing
from gputx.workflows.api.servers import Server

_TUNNEL_URL = "http://127.0.0.1:8000"


def up(report: ApiReport) -> str:
    """Address, token, and a call that works as typed."""
    server = report.server
    if server is None:
        return ""
    url = server.public_url or _TUNNEL_URL
    # Each line works as typed; what is emulated is never taken for the real thing by itself.
    on, before = ("", "") if report.place == "aws" else (f" --on {report.place}", f"GPUTX_AUTO=api,{report.place} ")
    rows = [_told(report, server), "", f"  address  {url}"]
    rows += [] if server.public else [f"           while `gputx api tunnel{on}` runs"]
    rows += [f"  token    {server.token}", f"  ends     {_when(server.until)} at the latest{_price(server)}"]
    rows += [f"  texts    of jobs go to {server.results}, too"] if server.results else []
    rows.append("")
    if server.public:
        rows += [f"  gputx api status{on} --json | jq -r '.servers[0].certificate' > gputx.pem"]
    pem = "--cacert gputx.pem " if server.public else ""
    rows.append(
        f'  curl {pem}-H "Authorization: Bearer $(gputx api token{on})" -F audio=@intervju.mp3 {url}/transcribe'
    )
    rows.append(f"  {before}gputx run --on auto intervju.mp3")
    return "\n".join(rows) + "\n"


def _told(report: ApiReport, server: Server) -> str:
    how = "was up already" if report.found and not report.upgraded else "is up"
    if report.upgraded:
        how = "runs this gputx's code now; what was queued is kept"
    return f"{server.instance_id} {how}; it ends itself when it has not been used for {duration(server.idle_timeout)}"


def up_document(report: ApiReport) -> dict[str, Any]:
    """The same for a program."""
    return {
        "version": 1,
        "found": report.found,
        "upgraded": report.upgraded,
        "server": None if report.server is None else _document(report.server) | {"token": report.server.token},
        "phases": [{"name": p.name, "seconds": round(p.end - p.start, 3)} for p in report.phases],
    }


def down(report: ApiReport) -> str:
    """What was ended."""
    if report.server is None:
        return "no server was up\n"
    return f"ended {', '.join(report.ended)}\n" if report.ended else "it had ended by itself; what it left is gone\n"


def down_document(report: ApiReport) -> dict[str, Any]:
    """The same for a program."""
    return {"version": 1, "ended": report.ended, "may_still_run": report.ending is not None}


def status(found: Sequence[Standing]) -> str:
    """A few lines for each server."""
    if not found:
        return "no server is up; gputx api up\n"
    return "\n".join(_status(one) for one in found)


def _status(one: Standing) -> str:
    server = one.server
    waiting = one.trouble if one.queued is None else f"{duration(one.queued)} of audio" if one.queued else "empty"
    memory = f", memory {one.health['memory_usage']}" if one.health and "memory_usage" in one.health else ""
    rows = [
        f"{one.word}: {server.model} on {server.instance_id} ({server.instance_type}, {server.market}, {server.zone})",
        f"  address  {server.public_url or f'{_TUNNEL_URL}, while `gputx api tunnel` runs'}",
        f"  queue    {waiting}{memory}",
        f"  up for   {duration(one.now - server.started)}, {_cost(one)} so far{_price(server)}",
        f"  ends     {_when(server.until)} at the latest, or when it has not been used for "
        f"{duration(server.idle_timeout)}",
    ]
    return "\n".join(rows) + "\n"


def status_document(found: Sequence[Standing]) -> dict[str, Any]:
    """The same for a program."""
    return {
        "version": 1,
        "servers": [
            _document(one.server)
            | {
                "state": one.word,
                "healthy": one.healthy,
                "health": one.health,
                "queued_seconds": one.queued,
                "age_seconds": round(one.now - one.server.started, 1),
                "cost": one.cost,
                "trouble": one.trouble or None,
            }
            for one in found
        ],
    }


def _document(server: Server) -> dict[str, Any]:
    return {
        "run": server.run_id,
        "instance_id": server.instance_id,
        "instance_type": server.instance_type,
        "zone": server.zone,
        "market": server.market,
        "region": server.region,
        "model": server.model,
        "url": server.public_url or _TUNNEL_URL,
        "public": server.public,
        "certificate": server.certificate,
        "results": server.results,
        "idle_timeout": server.idle_timeout,
        "deadline": server.until,
    }


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}"


def _price(server: Server) -> str:
    return "" if server.hourly is None else f" ({money(server.hourly)}/h)"


def _cost(one: Standing) -> str:
    return "cost unknown" if one.cost is None else money(one.cost)
