"""Who takes part: every algorithm and decoder of ours, and the peers beside them, behind one function.

transcribe(samples, "vad ctranslate2") -> segments
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import peers

from gputx_remote.audio.recording import Recording
from gputx_remote.engine.choice import Choice
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.transcript import Segment

if TYPE_CHECKING:
    from gputx_remote.engine.transcriber import Transcriber

Samples = npt.NDArray[np.float32]

MODEL = Path(__file__).resolve().parents[1] / "gputx" / "sandbox" / "tiny_sv"

# In float32 unless the name says otherwise, so that they differ by nothing but what is named.
OURS = {
    "sequential": Choice("sequential"),
    "chunked": Choice("chunked"),
    "vad ctranslate2": Choice("vad", "ctranslate2", "float32"),
    "vad ctranslate2 int8": Choice("vad", "ctranslate2", "int8"),
    "vad torch": Choice("vad", "torch", "float32"),
    "vad torch bfloat16": Choice("vad", "torch", "bfloat16"),
    "vad torch int8": Choice("vad", "torch", "int8"),
    "vad transformers": Choice("vad", "transformers", "float32"),
}
YARDSTICK = "sequential"


def names() -> tuple[str, ...]:
    return (*OURS, *peers.CONTESTANTS)


def transcribe(samples: Samples, name: str, *, words: bool = False) -> list[Segment]:
    """The segments a contestant finds in Swedish speech, on the CPU.

    Args:
        samples: float32 of shape (samples,), 16 kHz.
        name: one of :func:`names`.
        words: ask for word times; the stock pipeline and the long form have none here. Some peers pay with text.

    Raises:
        KeyError: no such contestant.
    """
    if name in peers.CONTESTANTS:
        found: list[Segment] = peers.CONTESTANTS[name](samples, words=words)
        return found
    options = TranscribeOptions(language="sv", word_timestamps=words)
    return list(_loaded(name).transcribe(Recording.of(samples), options)[0])


@functools.cache
def _loaded(name: str) -> Transcriber:
    # Seconds of imports, which the peers do without.
    from gputx_remote import weights  # noqa: PLC0415
    from gputx_remote.engine import loading  # noqa: PLC0415

    def note(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr)

    return loading.load(weights.resolve(str(MODEL), None, note), OURS[name], device="cpu", note=note)
