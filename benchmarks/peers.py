"""faster-whisper as a person would call it: sequential, with its voice activity detection, and batched.

It judges a model by the size of its vocabulary, so the tiny model is laid out as Whisper's own first
(tools/tiny-sv/widen.py: the same outputs), then converted by CTranslate2's converter. Both are kept under
build/accuracy.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gputx_remote.transcript import Segment, Word

Samples = npt.NDArray[np.float32]

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "gputx" / "sandbox" / "tiny_sv"
KEPT = ROOT / "build" / "accuracy"
# The tiny model writes the first time wherever speech begins, not in the first second only; and text before it is
# more than it was trained to bear (tools/tiny-sv/README.md). Without these two it scores far worse in every mode.
FAIR: dict[str, Any] = {"language": "sv", "condition_on_previous_text": False, "max_initial_timestamp": 30.0}


def sequential(samples: Samples, *, words: bool = False, **options: Any) -> list[Segment]:
    """One window after another, each where the one before it ended. ``options`` go to faster-whisper."""
    found, _ = _model().transcribe(samples, word_timestamps=words, **FAIR, **options)
    return _segments(found)


def with_vad(samples: Samples, *, words: bool = False, **options: Any) -> list[Segment]:
    """The same over what Silero VAD leaves of the audio."""
    return sequential(samples, words=words, vad_filter=True, **options)


def batched(samples: Samples, *, words: bool = False, **options: Any) -> list[Segment]:
    """Windows packed by Silero VAD, eight at once."""
    from faster_whisper import BatchedInferencePipeline  # noqa: PLC0415 - only who measures it needs it

    found, _ = BatchedInferencePipeline(_model()).transcribe(
        samples, word_timestamps=words, batch_size=8, **FAIR, **options
    )
    return _segments(found)


def batched_with_times(samples: Samples, *, words: bool = False) -> list[Segment]:
    """Batched, and asked for time stamps, which it leaves out unless told otherwise."""
    return batched(samples, words=words, without_timestamps=False)


CONTESTANTS: dict[str, Callable[..., list[Segment]]] = {
    "faster-whisper sequential": sequential,
    "faster-whisper vad": with_vad,
    "faster-whisper batched": batched,
    "faster-whisper batched with times": batched_with_times,
}


def _segments(found: Iterable[Any]) -> list[Segment]:
    return [
        Segment(
            round(segment.start * 1000),
            round(segment.end * 1000),
            segment.text.strip(),
            tuple(
                Word(round(word.start * 1000), round(word.end * 1000), word.word.strip(), word.probability)
                for word in segment.words or ()
            ),
        )
        for segment in found
    ]


@functools.cache
def _model() -> Any:
    from faster_whisper import WhisperModel  # noqa: PLC0415 - as above

    return WhisperModel(str(converted()), device="cpu", compute_type="float32", cpu_threads=1)


def converted(model: Path = MODEL, kept: Path = KEPT) -> Path:
    """The widened tiny model as CTranslate2 reads it, made at the first call."""
    target = kept / "faster-whisper-model"
    if (target / "model.bin").is_file():
        return target
    import ctranslate2  # noqa: PLC0415 - as above

    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as directory:
        wide, made = Path(directory) / "wide", Path(directory) / "made"
        widen = ROOT / "tools" / "tiny-sv" / "widen.py"
        subprocess.run([sys.executable, str(widen), str(model), str(wide)], check=True)
        files = ["tokenizer.json", "preprocessor_config.json"]
        ctranslate2.converters.TransformersConverter(str(wide), copy_files=files).convert(str(made))
        made.rename(target)
    return target
