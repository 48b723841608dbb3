"""What this machine and its network have to give."""

from __future__ import annotations

import ipaddress
import shlex
import sys
from collections.abc import Callable

from gputx.aws import identity
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import ExitCode, GputxError
from gputx.ssh import outbound
from gputx.units import size
from gputx.workflows.checks.finding import Finding, Remedies, failed, ok, skipped, warning
from gputx.workflows.hosts.local import ChildStream
from gputx.workflows.worker import Worker

_INSTALL = shlex.join([sys.executable, "-m", "pip", "install", "gputx[local]"])


def ssh_outbound(session: AwsSession, cidrs: tuple[str, ...], remedies: Remedies, stop: Stop) -> Finding:
    """Whether SSH gets out of this network, and whether the way back in is open for the right address."""
    seen: list[str] = []
    host, port = "", 0
    for host, port in session.outside_ssh:
        try:
            outbound.greeting(host, port, stop)
        except OSError as error:
            seen.append(f"{host}:{port}: {error.strerror or error}")
            if outbound.unknown_host(error):
                continue  # not every region has one
            break
        return _address(session, cidrs, remedies, f"out at port {port}")
    return failed(
        "SSH does not get out of this network: a firewall here, or no network",
        f"nc -vz -w 5 {host} {port}",
        details=tuple(seen),
        code=ExitCode.FAILED,
    )


def _address(session: AwsSession, cidrs: tuple[str, ...], remedies: Remedies, line: str) -> Finding:
    try:
        mine = identity.public_cidr(session)
    except GputxError as error:
        if cidrs:
            return ok(f"{line}; instances let in {', '.join(cidrs)}", facts={"address": None, "cidrs": list(cidrs)})
        command = 'export GPUTX_ALLOW_CIDR="$(curl -fsS https://ifconfig.me/ip)/32"'
        return failed(error.message, command)
    address = ipaddress.IPv4Interface(mine).ip
    facts = {"address": str(address), "cidrs": list(cidrs)}
    if cidrs and not any(address in ipaddress.IPv4Network(cidr) for cidr in cidrs):
        return warning(
            f"{line}; instances let in {', '.join(cidrs)}, and this machine seems to be {address}",
            remedies.setting("allow_cidr", ",".join((*cidrs, mine))),
            facts=facts,
        )
    return ok(f"{line}; this machine is {address}", facts=facts)


def local_engine(start: Callable[[list[str], Stop], ChildStream], *, wanted: bool, stop: Stop) -> Finding:
    """What ``--on local`` would run with, from a worker's own mouth.

    Args:
        wanted: it is where jobs run; else it is only worth knowing.
    """
    stream = start(["engines"], stop)
    try:
        event = next((event for event in Worker(stream).events() if event["event"] == "engines"), None)
    finally:
        stream.close()
    if event is None:
        raise GputxError(f"the worker did not say what can run here ({stream.epitaph()})")
    chosen, machine = event["default"], event["machine"]
    if chosen is None:
        lacking = sorted({package for packages in event["missing"].values() for package in packages})
        line = f"not installed: {', '.join(lacking)}"
        return failed(line, _INSTALL) if wanted else skipped(f"{line}; --on local needs it, and nothing else", _INSTALL)
    on = machine["gpu"] or f"{machine['cores']} cores"
    return ok(
        f"{chosen['decoder']}, {chosen['compute_type']} on {on}, {size(machine['memory'])} of memory",
        facts={"device": event["device"], **chosen, **machine},
    )
