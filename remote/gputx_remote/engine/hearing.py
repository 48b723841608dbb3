"""What is heard in windows: decoded, again where it can't be believed, and in halves where that may say more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gputx_remote.decoders.decoder import Decoder, Request
from gputx_remote.engine import fallback
from gputx_remote.engine.coverage import RATE, Lack, lack
from gputx_remote.engine.halves import halves
from gputx_remote.engine.loudness import raised
from gputx_remote.engine.quality import Doubt, loops
from gputx_remote.speech.plan import SpeechOptions, Window

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples
    from gputx_remote.engine.fallback import Attempt
    from gputx_remote.engine.transcriber import TranscribeOptions, TranscriptionInfo
    from gputx_remote.vocabulary import Vocabulary

Cut = tuple[Window, "Samples"]

PARTED = 2
"""How often a window is parted: into quarters at most, and only where halves said more."""
UNSURE = -0.4
"""A text with a mean log probability below this is heard in halves as well: among 205 windows in five conditions these
are one in seven, with half of all the errors (docs/accuracy.md)."""
SURER = 0.05
"""Halves take the place of a whole that lacked nothing only if they are by so much surer."""
SUSPECT = 2 * RATE
"""With more speech than this left out in the end, what stands is suspect: it is not all that was said."""


@dataclass(frozen=True)
class Heard:
    """One window, or a part of one, decoded."""

    window: Window
    attempt: Attempt
    starts: Sequence[float]
    """When its text tokens begin, in seconds, and last where they end; empty where nobody asked."""


def hear(
    decoder: Decoder,
    cuts: Sequence[Cut],
    *,
    options: TranscribeOptions,
    info: TranscriptionInfo,
    said: Sequence[int],
    parted: int = 0,
) -> list[list[Heard]]:
    """Decode windows that fit into memory together.

    Args:
        decoder: the model.
        cuts: windows and their samples.
        options: what the person asked for.
        info: its language is set where it is not known yet.
        said: tokens of the text before these windows.
        parted: how often they were parted already.

    Returns:
        For each window what was heard in it: one item, or one for each of its parts.

    Raises:
        OutOfMemoryError: too many at once.
    """
    vocabulary, speech = decoder.vocabulary, options.speech or SpeechOptions()
    own = _whole(decoder, cuts, options, info, said)
    lacks = [_lack(heard, options, vocabulary) for heard in own]
    result = [[_marked(heard, missing)] for heard, missing in zip(own, lacks, strict=True)]
    if parted == PARTED:
        return result
    in_doubt = [row for row, one in enumerate(own) if lacks[row] or _likelihood([one]) < UNSURE]
    parts = {row: halves(*cuts[row], speech) for row in in_doubt}
    # What could not be believed at any temperature is no better for trying them all on each of its parts.
    once = replace(options, temperatures=options.temperatures[:1])
    again: dict[int, list[Heard]] = {row: [] for row in parts}
    for good, how in ((True, options), (False, once)):
        waiting = [(row, part) for row in parts if own[row].attempt.verdict.good is good for part in parts[row]]
        for at in range(0, len(waiting), len(cuts)):
            piece = waiting[at : at + len(cuts)]
            deeper = hear(decoder, [part for _, part in piece], options=how, info=info, said=said, parted=parted + 1)
            for (row, _), found in zip(piece, deeper, strict=True):
                again[row] += found
    for row, heard in again.items():
        # A silent half has left out all of its speech here, though it may be right: then the whole was right as well.
        missing = sum((_lack(one, options, vocabulary, silent=True) for one in heard), Lack())
        surer = _likelihood(heard) > _likelihood([own[row]]) + SURER
        believed = all(one.attempt.verdict.good for one in heard)
        # Each part of a loop may be short enough to pass.
        looped = loops(" ".join(_text(one, vocabulary) for one in heard).split(), options.thresholds.repeats)
        if heard and not looped and (missing < lacks[row] or (missing == lacks[row] and surer and believed)):
            result[row] = heard
    return result


def _text(heard: Heard, vocabulary: Vocabulary) -> str:
    return "" if heard.attempt.verdict.silent else vocabulary.text(heard.attempt.decoded.tokens)


def _likelihood(heard: Sequence[Heard]) -> float:
    """The mean log probability of all that was written; 0 where nothing was, or nobody spoke."""
    spoken = [one.attempt.decoded.logprobs for one in heard if not one.attempt.verdict.silent]
    values = [value for logprobs in spoken for value in logprobs]
    return sum(values) / len(values) if values else 0.0


def _whole(
    decoder: Decoder,
    cuts: Sequence[Cut],
    options: TranscribeOptions,
    info: TranscriptionInfo,
    said: Sequence[int],
) -> list[Heard]:
    """Each window as it is, tried until its text can be believed."""
    encoded = decoder.encode([raised(samples, window) for window, samples in cuts])
    info.language = info.language or language_of(decoder, encoded)
    request = Request(_prompt(decoder.vocabulary, info.language, options, said))
    # Draws depend on the place in the recording, so that no batch and no second try of it changes them.
    requests = [replace(request, seed=window.start) for window, _ in cuts]
    attempts = fallback.decode(decoder, encoded, requests, options)
    starts: Sequence[Sequence[float]] = [()] * len(cuts)
    if options.word_timestamps:
        texts = [_text_tokens(attempt, decoder.vocabulary) for attempt in attempts]
        starts = decoder.align(encoded, request.prompt, texts, [len(samples) for _, samples in cuts])
    return [Heard(window, attempt, begins) for (window, _), attempt, begins in zip(cuts, attempts, starts, strict=True)]


def _lack(heard: Heard, options: TranscribeOptions, vocabulary: Vocabulary, *, silent: bool = False) -> Lack:
    """What is missing; of a window that was taken for silent nothing, unless ``silent`` counts it."""
    window, attempt = heard.window, heard.attempt
    if attempt.verdict.silent:
        return Lack(0, sum(span.stop - span.start for span in window.speech)) if silent else Lack()
    missing = lack(window, attempt.decoded, vocabulary)
    # Where nobody looked for speech, all of a window is marked as speech, and pauses would be missed.
    return Lack(missing.cut_short) if options.speech and options.speech.detector == "none" else missing


def _marked(heard: Heard, missing: Lack) -> Heard:
    """In doubt where much is missing."""
    doubts = set(heard.attempt.verdict.doubts)
    if missing.cut_short or missing.left_out > SUSPECT:
        doubts.add(Doubt.INCOMPLETE)
    verdict = replace(heard.attempt.verdict, doubts=frozenset(doubts))
    return replace(heard, attempt=replace(heard.attempt, verdict=verdict))


def _text_tokens(attempt: Attempt, vocabulary: Vocabulary) -> tuple[int, ...]:
    return tuple(token for token in attempt.decoded.tokens if token < vocabulary.end_of_text)


def language_of(decoder: Decoder, encoded: Any) -> str:
    """The language these windows are likeliest in, all taken together."""
    chances = decoder.languages(encoded)
    if not chances[0]:
        return "en"  # a model without language tokens knows English only
    return max(chances[0], key=lambda code: sum(chance[code] for chance in chances))


def _prompt(vocabulary: Vocabulary, language: str, options: TranscribeOptions, said: Sequence[int]) -> tuple[int, ...]:
    """Hotwords, the person's prompt and the text before. Where room is short the text before gives way first, then the
    prompt's beginning."""
    room = vocabulary.context // 2 - 1
    hotwords = vocabulary.encode(options.hotwords or "")[:room]
    prompt = _last(vocabulary.encode(options.initial_prompt or ""), room - len(hotwords))
    context = _last(said, room - len(hotwords) - len(prompt)) if options.condition_on_previous_text else []
    return vocabulary.prompt(language, options.task, previous=[*hotwords, *prompt, *context])


def _last(tokens: Sequence[int], count: int) -> Sequence[int]:
    return tokens[max(0, len(tokens) - count) :]
