"""Decoding again what can't be believed: the windows of a batch that failed, together, at the next temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gputx_remote.decoders.decoder import Decoded, Decoder, Request
from gputx_remote.engine.quality import Doubt, Verdict, judge
from gputx_remote.engine.transcriber import TranscribeOptions


@dataclass(frozen=True)
class Attempt:
    """What one window was taken for."""

    decoded: Decoded
    temperature: float
    verdict: Verdict
    tries: int


def decode(decoder: Decoder, encoded: Any, requests: Sequence[Request], options: TranscribeOptions) -> list[Attempt]:
    """Decode every window of a batch until its text can be believed, or the temperatures are used up.

    Of a window that failed at every temperature the best attempt is kept: first one that is no guesswork, then one
    without a loop, then one that compresses as text does, then the likeliest.

    Args:
        decoder: the model.
        encoded: windows, as :meth:`Decoder.encode` gave them.
        requests: one for each; temperature and seed are set here.
        options: temperatures and thresholds.

    Raises:
        OutOfMemoryError: too many at once.
    """
    best: list[Attempt | None] = [None] * len(requests)
    doubtful = list(range(len(requests)))
    for number, temperature in enumerate(options.temperatures):
        chosen = [replace(requests[row], temperature=temperature, seed=requests[row].seed + number) for row in doubtful]
        rows = encoded if len(doubtful) == len(requests) else decoder.select(encoded, doubtful)
        for row, decoded in zip(doubtful, decoder.decode(rows, chosen), strict=True):
            text = decoder.vocabulary.text(decoded.tokens)
            attempt = Attempt(decoded, temperature, judge(text, decoded, options.thresholds), number + 1)
            before = best[row]
            better = before is None or _rank(attempt) > _rank(before)
            best[row] = attempt if better else replace(before, tries=number + 1) if before else attempt
        doubtful = [row for row in doubtful if not _believed(best[row])]
        if not doubtful:
            break
    return [attempt for attempt in best if attempt is not None]


def _believed(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.verdict.good


def _rank(attempt: Attempt) -> tuple[bool, bool, bool, bool, float]:
    doubts = attempt.verdict.doubts
    return (
        attempt.verdict.good,
        Doubt.LOGPROB not in doubts,
        Doubt.LOOP not in doubts,
        Doubt.COMPRESSION not in doubts,
        attempt.decoded.avg_logprob,
    )
