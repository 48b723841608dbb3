"""The port every decoder fills: windows of audio in, tokens and how sure the model was out.

A decoder knows no files, no plan and no quality rule: it turns what it is given into tokens, as many windows at once
as it is handed. What to hand it, and what to make of the tokens, is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # `hello` should not wait for numpy
    import numpy as np
    import numpy.typing as npt

    from gputx_remote.vocabulary import Vocabulary

    Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """How one window is to be decoded."""

    prompt: tuple[int, ...]
    """What the decoder is given before it writes, special tokens and all: :meth:`Vocabulary.prompt` makes it."""
    temperature: float = 0.0
    """0: the likeliest token each time. More: drawn from the distribution at that temperature."""
    seed: int = 0
    """For drawing. The same window, request and seed give the same tokens, whatever else is in the batch; not by
    CTranslate2 on CUDA, nor where its second text decoder has no room (:meth:`CTranslate2Decoder.decode`)."""
    max_tokens: int = 224
    """Tokens to write at most: half of Whisper's context, as its own decoder has it."""


@dataclass(frozen=True)
class Decoded:
    """What the model wrote for one window."""

    tokens: tuple[int, ...]
    """With its time tokens, without the prompt and without <|endoftext|>."""
    logprobs: tuple[float, ...]
    """The log probability of each of them, and last that of <|endoftext|> where it was written, after the rules."""
    no_speech_prob: float
    """Probability of <|nospeech|> in the first position after <|startoftranscript|>, before any rule; 0 without it."""

    @property
    def avg_logprob(self) -> float:
        """Mean over all that was written, the end included. 0 for nothing."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


class OutOfMemoryError(Exception):
    """The batch did not fit. The decoder has freed what it had taken for it and can be used with a smaller one."""


class Decoder(Protocol):
    """A loaded model. Not thread-safe."""

    name: str
    """transformers, torch or ctranslate2."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of its model."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda."""
        ...

    @property
    def compute_type(self) -> str:
        """float32, bfloat16, float16, int8, int8_float16, …: what it computes with."""
        ...

    def encode(self, windows: Sequence[Samples]) -> Any:
        """Run the encoder over windows of at most 30 s of 16 kHz samples, each padded with silence.

        Returns:
            An object only this decoder understands, for one or more of the calls below: so that decoding again at
            another temperature costs no second encoding. ``len()`` gives the number of windows.

        Raises:
            OutOfMemoryError: too many at once.
        """
        ...

    def select(self, encoded: Any, rows: Sequence[int]) -> Any:
        """The encoding of some of its windows, in this order."""
        ...

    def join(self, encodings: Sequence[Any]) -> Any:
        """One encoding of the windows of several, in this order: what the server decodes together was not always
        encoded together.

        Raises:
            OutOfMemoryError: too many at once.
        """
        ...

    def decode(self, encoded: Any, requests: Sequence[Request]) -> list[Decoded]:
        """Write the text of every window; one request each. At temperature 0 on fp32 the tokens of a window do not
        depend on what else is in the batch.

        Raises:
            OutOfMemoryError: too many at once.
        """
        ...

    def languages(self, encoded: Any) -> list[dict[str, float]]:
        """For each window the probability of each language code the model knows; empty for an English-only model."""
        ...

    def align(
        self, encoded: Any, prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """When each token was spoken, from the cross-attention of the model's alignment heads.

        Args:
            encoded: windows, as :meth:`encode` gave them.
            prompt: what all of them were decoded behind.
            texts: for each window its text tokens: no time tokens, no special ones; maybe none.
            lengths: for each window how many samples are audio; what is behind was padded and takes no part.

        Returns:
            For each window the seconds from its start at which each token begins, and last where the text ends:
            one more than tokens, never backwards.

        Raises:
            OutOfMemoryError: too many at once.
        """
        ...

    def batch_size(self) -> int:
        """Windows at once that free memory has room for, at most; at least 1."""
        ...
