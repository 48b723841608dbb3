"""Writing to the two streams: results that must arrive or fail aloud, and everything else, which can't fail."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

import click

from gputx.errors import ExitCode, GputxError


class OutputError(GputxError):
    """What was asked for could not be written to stdout."""


def put(text: str) -> None:
    """Results to stdout, whole.

    Raises:
        OutputError: the disk behind it is full, or it is closed.
        click.exceptions.Exit: whoever read it has left, which they know; nothing is said.
    """
    if sys.stdout is None:
        raise OutputError("stdout is closed, so the result has nowhere to go")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout.fileno())
        raise click.exceptions.Exit(ExitCode.FAILED) from None
    except OSError as error:
        silence(sys.stdout.fileno())
        raise OutputError(f"the result could not be written to stdout: {error.strerror}") from None


def say(text: str, *, file: TextIO | None = None) -> None:
    """One line to stderr, or to ``file``, which is :func:`apart`. Never raises.

    A closed pipe or terminal is replaced by nothing, once.
    """
    try:
        click.echo(text, file, err=True)
    except OSError:
        silence(sys.stderr.fileno())


def apart() -> TextIO | None:
    """stderr once more, with a buffer and a lock of its own: who is held up in writing to it holds up no one else."""
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, io.UnsupportedOperation):  # closed, or replaced by something in memory
        return sys.stderr
    return os.fdopen(descriptor, "w", 1, encoding=sys.stderr.encoding, errors=sys.stderr.errors, closefd=False)


def silence(descriptor: int) -> None:
    """Let a stream whose reader has left write to nothing, so that Python's own exit does not trip over it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
