"""Asking the person at the terminal, in a way that a Ctrl-C always gets through to."""

from __future__ import annotations

import select
import sys

import click

from gputx.clock import Stop
from gputx.lease.interrupts import supervise

_POLL_SECONDS = 0.2


def confirm(question: str) -> bool:
    """Ask on stderr, so that stdout holds nothing but results. Only a y or yes is a yes.

    Raises:
        InterruptedBySignal: INT, TERM or HUP came instead of an answer.
    """
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    # A signal that comes a moment before a blocking read would be noticed only once something is typed.
    answer = supervise(_line, on_signal=lambda _signum, _count: click.echo(err=True))
    return answer.strip().lower() in {"y", "yes"}


def _line(stop: Stop) -> str:
    while not select.select([sys.stdin], [], [], _POLL_SECONDS)[0]:
        stop.check()
    return sys.stdin.readline()
