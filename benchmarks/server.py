"""How much is gained when the windows of many requests share batches: clients at once, in turns, at real servers.

    python benchmarks/server.py [--rounds 3] [--requests 32] [--clients 1 4 16] [--peer PYTHON]
    python benchmarks/server.py --shape small [--rounds 3]

The first form starts, in every round and in changing order, this server as it is ("shared"), this server with one
request at a time at the engine ("one by one"), and where an interpreter with ``wyoming-faster-whisper`` is named, that
peer. Each is asked for the same recordings (examples/held-out, 10 to 40 s) by so many clients at once, over HTTP from
the upload on. Throughput is seconds of audio per second of wall time, and beside it per second of processor time, which
others on the machine disturb less; ratios are taken within a round.

The second form leaves out everything but the model: one 30 s window and 96 tokens for each of 16 jobs, on random
weights of a real Whisper's shape, decoded one by one and through :class:`SharedDecoder`. The tiny model is so small
that bookkeeping weighs as much as arithmetic; here arithmetic is all there is.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import jiwer
import models
import numpy as np
import server_contestants as contestants
import soundfile

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ROOT / "examples" / "held-out"
TINY = ROOT / "gputx" / "sandbox" / "tiny_sv"
ONE, SHARED, PEER = "one by one", "shared", "wyoming-faster-whisper"
TOKENS = 96


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--requests", type=int, default=32, help="in all, whatever the number of clients")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="an interpreter that has wyoming-faster-whisper")
    parser.add_argument("--shape", choices=models.SHAPES, help="the model alone, random weights of this shape")
    parser.add_argument("--decoder", default="auto", help="with --shape")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    arguments = parser.parse_args()
    rows = list(_alone(arguments) if arguments.shape else _served(arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    print(table(rows))
    return 0


def _served(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    start: dict[str, Callable[[], AbstractContextManager[contestants.Server]]] = {
        ONE: functools.partial(contestants.ours, TINY, 1),
        SHARED: functools.partial(contestants.ours, TINY, 16),
    }
    if arguments.peer:
        start[PEER] = functools.partial(contestants.wyoming, arguments.peer, len(os.sched_getaffinity(0)))
    clips = _clips()
    for number in range(arguments.rounds):
        # Whoever comes first in one round comes last in the next.
        for name in list(start)[:: 1 if number % 2 == 0 else -1]:
            with start[name]() as server:
                _load(server, clips[:2], 1)  # kernels and workspaces are made on first use
                for clients in arguments.clients:
                    work = list(itertools.islice(itertools.cycle(clips), arguments.requests))
                    yield _said({"round": number, "name": name, "clients": clients, **_load(server, work, clients)})


def _load(server: contestants.Server, work: Sequence[tuple[Path, str, float]], clients: int) -> dict[str, Any]:
    """So many clients, each with its next request as soon as it has an answer."""

    def one(item: tuple[Path, str, float]) -> tuple[str, float]:
        began = time.monotonic()
        return server.ask(item[0]), time.monotonic() - began

    with ThreadPoolExecutor(clients) as pool:
        began, used = time.monotonic(), server.cpu_seconds()
        answers = list(pool.map(one, work))
        wall, used = time.monotonic() - began, server.cpu_seconds() - used
    audio = sum(seconds for _, _, seconds in work)
    waits = sorted(wait for _, wait in answers)
    return {
        "speed": audio / wall,
        "cpu": audio / used,
        "p50": statistics.median(waits),
        "p95": waits[min(len(waits) - 1, round(0.95 * len(waits)))],
        "wer": jiwer.wer([_plain(text) for _, text, _ in work], [_plain(text) or "-" for text, _ in answers]),
    }


def _alone(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    # Seconds of imports, for this form only.
    from gputx_remote.decoders.decoder import Decoder, Request  # noqa: PLC0415
    from gputx_remote.engine.choice import Choice  # noqa: PLC0415
    from gputx_remote.server.engine import SharedEngine  # noqa: PLC0415
    from gputx_remote.worker import ModelOptions  # noqa: PLC0415

    model = models.path(arguments.models, arguments.shape)
    choice = Choice("vad", arguments.decoder)
    engine = SharedEngine.load(ModelOptions(str(model), device="cpu", choice=choice), _note)
    assert engine.decoder is not None
    samples, _ = soundfile.read(HELD_OUT / "long3min.flac", dtype="float32")
    request = Request(engine.vocabulary.prompt("sv", "transcribe"), max_tokens=TOKENS)

    def window(decoder: Decoder, number: int) -> float:
        began = time.monotonic()
        start = 8 * 16_000 * number % (len(samples) - 30 * 16_000)
        decoder.decode(decoder.encode([samples[start : start + 30 * 16_000]]), [request])
        return time.monotonic() - began

    @contextmanager
    def seated() -> Iterator[Decoder]:
        seat = engine.decoder.seat()  # type: ignore[union-attr] # looked at above
        try:
            yield seat
        finally:
            seat.close()

    def through_seat(number: int) -> float:
        with seated() as seat:
            return window(seat, number)

    through_seat(0)
    numbers = list(range(arguments.requests))
    for number in range(arguments.rounds):
        began = _clocks()
        waits = [window(engine.decoder.decoder, one) for one in numbers]
        yield _said(_measured(number, ONE, 1, waits, began))
        for clients in arguments.clients:
            with ThreadPoolExecutor(clients) as pool:
                began = _clocks()
                waits = list(pool.map(through_seat, numbers))
                yield _said(_measured(number, SHARED, clients, waits, began))
    engine.close()


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _measured(number: int, name: str, clients: int, waits: list[float], began: tuple[float, float]) -> dict[str, Any]:
    wall, used = (now - then for now, then in zip(_clocks(), began, strict=True))
    p95 = sorted(waits)[min(len(waits) - 1, round(0.95 * len(waits)))]
    audio = 30 * len(waits)
    spent = {"speed": audio / wall, "cpu": audio / used}
    return {"round": number, "name": name, "clients": clients, **spent, "p50": statistics.median(waits), "p95": p95}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians over the rounds; the ratio is the median of each round's own."""
    lines = [
        "| server | clients | speed | of one by one | audio a CPU second | of one by one | p50 s | p95 s | WER |",
        "|---" * 9 + "|",
    ]
    for name, clients in sorted({(row["name"], row["clients"]) for row in rows}, key=lambda key: (key[1], key[0])):
        own = [row for row in rows if (row["name"], row["clients"]) == (name, clients)]
        wer = f"{100 * np.median([row['wer'] for row in own]):.1f} %" if "wer" in own[0] else ""
        middle = {key: statistics.median(row[key] for row in own) for key in ("speed", "cpu", "p50", "p95")}
        speed, cpu = (f"{middle[key]:.1f} | {_ratios(rows, own, key)}" for key in ("speed", "cpu"))
        figures = f"{speed} | {cpu} | {middle['p50']:.2f} | {middle['p95']:.2f}"
        lines.append(f"| {name} | {clients} | {figures} | {wer} |")
    return "\n".join(lines)


def _ratios(rows: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]], key: str) -> str:
    ratios = [row[key] / _base(rows, row)[key] for row in own]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _base(rows: Sequence[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    """One by one in the same round, with as many clients waiting, or with none where that makes no difference."""
    same = [one for one in rows if one["round"] == row["round"] and one["name"] == ONE]
    return next((one for one in same if one["clients"] == row["clients"]), same[0])


def _clips() -> list[tuple[Path, str, float]]:
    """(file, its text, seconds)."""
    with (HELD_OUT / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(HELD_OUT / row["file"], row["text"], soundfile.info(HELD_OUT / row["file"]).duration) for row in rows]


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter not in ".,!?")


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
