"""The command line of ``api``. The standard library only: it is read whatever the payload is asked to do."""

from __future__ import annotations

import argparse
from pathlib import Path

from gputx_remote.server.limits import HOUR, Limits

DRAIN_SECONDS = 60.0


def add(parser: argparse.ArgumentParser) -> None:
    """Add what a server can be told, beside which model to load."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=_port, default=8000, help="0 for any that is free")
    parser.add_argument(
        "--tokens", type=Path, help="a file with a token a line, or NAME:TOKEN; without, GPUTX_TOKEN or a new one"
    )
    parser.add_argument("--state", type=Path, required=True, help="the directory of jobs and their results")
    parser.add_argument("--idle-file", type=Path, help="touched while the server is used")
    parser.add_argument("--tls-cert", type=Path, help="the certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, help="its key, PEM")
    parser.add_argument("--language", default="sv", help="where a request names none; auto to detect it")
    parser.add_argument("--max-upload", type=_positive, default=1024.0, metavar="MB", help="of one request")
    parser.add_argument("--max-audio", type=_positive, default=4.0, metavar="HOURS", help="of one recording")
    parser.add_argument("--queue", type=_positive, default=12.0, metavar="HOURS", help="of audio, queued or running")
    parser.add_argument(
        "--queue-per-token", type=_positive, metavar="HOURS", help="of that, for one token; without, all of it"
    )
    parser.add_argument(
        "--requests-per-token", type=_whole, default=64, metavar="N", help="transcriptions under way at once"
    )
    parser.add_argument("--running", type=_whole, default=16, metavar="N", help="recordings transcribed side by side")
    parser.add_argument(
        "--keep", type=_positive, default=60.0, metavar="MINUTES", help="for which the text of a job can be fetched"
    )
    parser.add_argument(
        "--drain", type=_positive, default=DRAIN_SECONDS, metavar="SECONDS", help="from SIGTERM to the end, at most"
    )
    parser.add_argument(
        "--results", metavar="s3://BUCKET/PREFIX", help="put the texts of jobs there, too, with this machine's role"
    )
    parser.add_argument("--region", default="eu-north-1", help="of that bucket")


def limits(arguments: argparse.Namespace) -> Limits:
    """The bounds of the room behind the HTTP surface."""
    queue = arguments.queue * HOUR
    own = queue if arguments.queue_per_token is None else min(queue, arguments.queue_per_token * HOUR)
    return Limits(
        audio_seconds=arguments.max_audio * HOUR,
        queue_seconds=queue,
        owner_seconds=own,
        running=arguments.running,
        keep_seconds=arguments.keep * 60,
    )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number
