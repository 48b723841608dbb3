"""Which token may come next: Whisper's rules as plain data, and a slow, clear implementation of them.

A decoder applies them in its own way, on a device or inside a library. :meth:`TokenRules.allowed` is the yardstick
their tests are held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gputx_remote.vocabulary import Vocabulary, read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Logits = npt.NDArray[np.float32]

MAX_INITIAL_TIMESTAMP_INDEX = 50
"""The first time token says 1.0 s at most, where the checkpoint does not say (whisper/decoding.py)."""


@dataclass(frozen=True)
class TokenRules:
    """The rules of one checkpoint. Tuples of tokens are sorted and without repeats."""

    size: int
    """Width of the logits."""
    end_of_text: int
    no_timestamps: int
    timestamp_begin: int
    suppress: tuple[int, ...]
    """Never written: what the checkpoint names, and every special token but the end of text and <|notimestamps|>."""
    begin_suppress: tuple[int, ...]
    """Not written first, so that no window begins with a blank: ``suppress_blank`` of Whisper."""
    max_initial_timestamp_index: int | None
    """The first time token is at most this many steps of 0.02 s; None: no limit."""
    timestamps: bool = True
    """Whether time tokens are asked for. Without, only the two suppressions hold."""

    @classmethod
    def load(cls, directory: Path, vocabulary: Vocabulary) -> TokenRules:
        """Read generation_config.json, and config.json for what it lacks.

        Raises:
            ModelUnavailableError: one of them is broken.
        """
        generation = read_json(directory / "generation_config.json", missing_ok=True)
        config = read_json(directory / "config.json")

        def tokens(name: str) -> set[int]:
            value = generation[name] if generation.get(name) is not None else config.get(name)
            return {token for token in value or () if 0 <= token < vocabulary.size}

        special = (
            vocabulary.start_of_transcript,
            vocabulary.start_of_previous,
            vocabulary.start_of_lm,
            vocabulary.no_speech,
            vocabulary.transcribe,
            vocabulary.translate,
        )
        # Null in the file lifts the limit, as in transformers; a file that does not speak of it does not.
        limit = generation.get("max_initial_timestamp_index", MAX_INITIAL_TIMESTAMP_INDEX)
        return cls(
            size=vocabulary.size,
            end_of_text=vocabulary.end_of_text,
            no_timestamps=vocabulary.no_timestamps,
            timestamp_begin=vocabulary.timestamp_begin,
            suppress=tuple(sorted(tokens("suppress_tokens") | {token for token in special if token is not None})),
            begin_suppress=tuple(sorted(tokens("begin_suppress_tokens"))),
            max_initial_timestamp_index=limit,
        )

    def for_prompt(self, prompt: Sequence[int]) -> TokenRules:
        """These rules with ``timestamps`` as a prompt asks for them: its last token may be <|notimestamps|>."""
        return replace(self, timestamps=not prompt or prompt[-1] != self.no_timestamps)

    def allowed(self, logits: Logits, written: Sequence[int]) -> Logits:
        """Logits with -inf for every token that may not come next.

        The order is that of whisper/decoding.py and of transformers: suppressions first, then
        ``ApplyTimestampRules``, whose last rule looks at what is left.

        Args:
            logits: shape (size,), float32.
            written: tokens so far, without the prompt.

        Returns:
            A changed copy.
        """
        import numpy as np  # noqa: PLC0415 - the data alone should not wait for it

        logits = logits.copy()
        if not written:
            logits[list(self.begin_suppress)] = -np.inf
        logits[list(self.suppress)] = -np.inf
        if not self.timestamps:
            return logits
        logits[self.no_timestamps] = -np.inf
        for start, end in self.forbidden(written):
            logits[start:end] = -np.inf
        text, times = logits[: self.timestamp_begin], logits[self.timestamp_begin :]
        top = times.max(initial=-np.inf)
        # A time token is due when all of them together are likelier than the likeliest other token.
        if np.isfinite(top) and top + np.log(np.exp(times - top).sum()) > text.max():
            logits[: self.timestamp_begin] = -np.inf
        return logits

    def forbidden(self, written: Sequence[int]) -> list[tuple[int, int]]:
        """The ranges [start, end) of tokens that time tokens written so far rule out.

        Times come in pairs but for one before the end of text, never go back, and an end is after its start.
        """
        begin = self.timestamp_begin
        if not written:
            ranges = [(0, begin)]
            if self.max_initial_timestamp_index is not None:
                ranges.append((begin + self.max_initial_timestamp_index + 1, self.size))
            return ranges
        ranges = []
        last_is_time = written[-1] >= begin
        pair_is_closed = len(written) < 2 or written[-2] >= begin
        if last_is_time:
            ranges.append((begin, self.size) if pair_is_closed else (0, self.end_of_text))
        times = [token for token in written if token >= begin]
        if times:
            again = last_is_time and not pair_is_closed
            ranges.append((begin, times[-1] if again else times[-1] + 1))
        return ranges
