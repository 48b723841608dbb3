"""A recording and what is said in it, to the word; and how one is put together from sentences."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .speech import RATE, Spoken, new_sentence, speak, voices

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TimedWord:
    """A word as it is written, with its punctuation. Times from the start of the recording."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class Sentence:
    """What one voice says without a break."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[TimedWord, ...]


@dataclass(frozen=True)
class Recording:
    """Samples of shape (samples,), float32 at 16 kHz, and the sentences in them in order of their starts."""

    samples: Samples
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def words(self) -> tuple[TimedWord, ...]:
        return tuple(word for sentence in self.sentences for word in sentence.words)

    def save(self, path: Path) -> None:
        """Write the sound (by the path's suffix) and beside it a .json with text, segment times and word times."""
        import soundfile  # noqa: PLC0415 - most who make a recording do not write it

        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for start in range(0, len(self.samples), 10 * RATE):  # libvorbis overflows its stack on one long write
                file.write(self.samples[start : start + 10 * RATE])
        document = {
            "duration": len(self.samples) / RATE,
            "text": self.text,
            "segments": [
                {
                    "start": sentence.start_ms / 1000,
                    "end": sentence.end_ms / 1000,
                    "text": sentence.text,
                    "words": [asdict(word) for word in sentence.words],
                }
                for sentence in self.sentences
            ],
        }
        path.with_suffix(".json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Script:
    """How sentences follow each other."""

    seconds: float
    seed: int = 1
    gap: tuple[float, float] = (1.0, 6.0)
    """Shortest and longest pause between two sentences in seconds; the default is that of examples/held-out."""
    speed: float = 1.0
    """Of the voices, by espeak-ng's own rate, so that pitch stays. Pauses keep their length."""
    long_pause_every: int = 0
    """Sentences between pauses of 30 s; 0 for none."""
    second_speaker_db: float | None = None
    """Level of a second voice that begins before each third sentence has ended; None for one voice at a time."""


LONG_PAUSE = 30.0
OVERLAP = (0.3, 0.8)
"""Seconds by which the second speaker cuts in."""


def record(script: Script) -> Recording:
    """Speak held-out sentences in the model's nine voices until the time is up. Without noise, at a usual level."""
    return record_all([script])[0]


def record_all(scripts: Sequence[Script]) -> list[Recording]:
    """Several recordings, one after the other.

    In a process of their own: what espeak-ng says depends a little on all that it has said before (some samples in
    the length of a word), so only a fresh one says the same each time.
    """
    # The same name as here, so that what comes back is of the same classes.
    folder = Path(__file__).parents[__name__.count(".")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", f"import {__name__} as recording; recording._answer()"]
    done = subprocess.run(command, env=environ, input=pickle.dumps(scripts), stdout=subprocess.PIPE, check=True)
    made: list[Recording] = pickle.loads(done.stdout)
    return made


def _answer() -> None:
    scripts: Sequence[Script] = pickle.load(sys.stdin.buffer)
    pickle.dump([_record(script) for script in scripts], sys.stdout.buffer)


def _record(script: Script) -> Recording:
    rng = random.Random(script.seed)
    samples = np.zeros(round(script.seconds * RATE), np.float32)
    sentences: list[Sentence] = []
    now = rng.uniform(0.2, 1.5)
    while True:
        said = _utterance(rng, script.speed)
        end = _put(samples, sentences, said, now, 0.8)
        if end is None:
            break
        if script.second_speaker_db is not None and len(sentences) % 3 == 0:
            # Three words at least: what is left of a shorter one may be nothing but overlap.
            answer = _utterance(rng, script.speed, least_words=3)
            gain = 0.8 * 10 ** (script.second_speaker_db / 20)
            end = _put(samples, sentences, answer, end - rng.uniform(*OVERLAP), gain) or end
        now = end + rng.uniform(*script.gap)
        if script.long_pause_every and len(sentences) % script.long_pause_every == 0:
            now = end + LONG_PAUSE
    return Recording(np.clip(samples * np.float32(rng.uniform(0.3, 1.0)), -1, 1), tuple(sentences))


def _utterance(rng: random.Random, speed: float, least_words: int = 1) -> Spoken:
    while True:
        text, voice = new_sentence(rng), rng.choice(voices())
        rate, pitch = rng.randint(135, 185), rng.randint(35, 70)
        if len(text.split()) >= least_words and (said := speak(text, voice, round(rate * speed), pitch)) is not None:
            return said


def _put(samples: Samples, sentences: list[Sentence], said: Spoken, at: float, gain: float) -> float | None:
    """Add a sentence; its end in seconds, or None where it does not fit any more."""
    start = int(at * RATE)
    stop = start + len(said.samples)
    if stop > len(samples) - 0.3 * RATE:
        return None
    samples[start:stop] += said.samples * np.float32(gain)
    offset = start / RATE
    words = tuple(
        TimedWord(round((offset + begun) * 1000), round((offset + ended) * 1000), word)
        for word, begun, ended in said.words
    )
    text = " ".join(word.text for word in words)
    sentences.append(Sentence(words[0].start_ms, words[-1].end_ms, text, words))
    return stop / RATE
