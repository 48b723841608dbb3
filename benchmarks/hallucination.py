"""What the engine writes where nobody speaks, and whether it can be made to repeat itself without end.

    python benchmarks/hallucination.py [--contestants "vad ctranslate2,chunked"] [--minutes 10] [--windows 1000]

Two tests. Ten minutes each of silence, noise, a tone, music and applause must give an empty text. And of 1,000
windows made from a seed to be as bad as windows get (words cut in two, one word over and over, speech under noise,
scraps of syllables, sounds that are no speech), none may give a loop: one to eight words that follow themselves four
times or more, and more often than anything in the sound repeats. Needs libespeak-ng. Ends with 1 where a test fails
for one of the `vad` engines.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contestants
import numpy as np
import numpy.typing as npt
import scoring
from material import sounds, variants

Samples = npt.NDArray[np.float32]

RATE = 16_000
LOOP = 4


@dataclass(frozen=True)
class Window:
    """A sound of at most 30 s, and the most times running that anything in it repeats (1: nothing does)."""

    kind: str
    samples: Samples
    repeats: int


class Windows:
    """Bad windows, made from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._speech = variants.make("dense", 900, seed + 1)
        self._noises = [make(40 * RATE, seed) for make in (sounds.white, sounds.pink, sounds.music, sounds.applause)]
        self._kinds: tuple[Callable[[], Window], ...] = (
            self._cut_speech,
            self._looped_word,
            self._scraps,
            self._under_noise,
            self._no_speech,
        )

    def make(self, number: int) -> Window:
        """Window ``number``: the kinds in turn."""
        return self._kinds[number % len(self._kinds)]()

    def _cut_speech(self) -> Window:
        """A stretch of speech that begins and ends anywhere, amid words as well."""
        samples, repeats = self._stretch(self._rng.uniform(0.5, 30))
        return Window("cut speech", samples, repeats)

    def _looped_word(self) -> Window:
        """One word, or two, over and over, some of it cut off, with or without a pause."""
        words = self._speech.words
        first = self._rng.randrange(len(words) - 1)
        last = first + self._rng.randint(0, 1)
        start, stop = words[first].start_ms * 16, words[last].end_ms * 16
        word = self._speech.samples[start : start + round((stop - start) * self._rng.uniform(0.4, 1.0))]
        once = np.concatenate([word, np.zeros(round(self._rng.choice([0, 0.05, 0.3]) * RATE), np.float32)])
        samples = np.resize(once, round(self._rng.uniform(3, 30) * RATE))
        return Window("looped word", samples, -(-len(samples) // len(once)))

    def _scraps(self) -> Window:
        """Scraps of 40 to 200 ms out of speech, one behind the other: syllables that make no word."""
        scraps: list[Samples] = []
        while sum(len(scrap) for scrap in scraps) < 20 * RATE:
            start = self._rng.randrange(len(self._speech.samples) - RATE)
            scraps.append(self._speech.samples[start : start + round(self._rng.uniform(0.04, 0.2) * RATE)])
        return Window("scraps", np.concatenate(scraps)[: round(self._rng.uniform(2, 20) * RATE)], 1)

    def _under_noise(self) -> Window:
        """Speech as loud as a noise, music or applause, or half as loud."""
        samples, repeats = self._stretch(self._rng.uniform(3, 30))
        start = self._rng.randrange(8 * RATE)
        noise = self._rng.choice(self._noises)[start : start + len(samples)]
        level = sounds.rms(samples) / sounds.rms(noise) * 10 ** (self._rng.uniform(0, 6) / 20)
        return Window("under noise", np.clip(samples + noise * np.float32(level), -1, 1), repeats)

    def _no_speech(self) -> Window:
        """Noise, music or applause at any level, or two of them after each other."""
        length = round(self._rng.uniform(1, 15) * RATE)
        start = self._rng.randrange(20 * RATE)
        parts = [noise[start : start + length] for noise in self._rng.sample(self._noises, self._rng.randint(1, 2))]
        level = 10 ** (self._rng.uniform(-60, 6) / 20)
        return Window("no speech", np.clip(np.concatenate(parts) * np.float32(level), -1, 1), 1)

    def _stretch(self, seconds: float) -> tuple[Samples, int]:
        length = round(seconds * RATE)
        start = self._rng.randrange(len(self._speech.samples) - length)
        said = [
            word
            for spoken in self._speech.words
            if spoken.end_ms * 16 > start and spoken.start_ms * 16 < start + length
            for word in scoring.normalised(spoken.text)
        ]
        return self._speech.samples[start : start + length], max(1, scoring.longest_repetition(said)[0])


def invented(name: str, minutes: float) -> dict[str, str]:
    """What a contestant writes for each sound without speech."""
    length = round(minutes * 60 * RATE)
    return {sound: " ".join(_words(make(length, 1), name)) for sound, make in sounds.NON_SPEECH.items()}


def loops(name: str, count: int, seed: int) -> list[dict[str, Any]]:
    """The windows in which a contestant repeats itself more often than the sound does."""
    found = []
    made = Windows(seed)
    for number in range(count):
        window = made.make(number)
        words = _words(window.samples, name)
        times, phrase = scoring.longest_repetition(words)
        if times >= LOOP and times > window.repeats:
            found.append({"window": number, "kind": window.kind, "times": times, "phrase": " ".join(phrase)})
    return found


def _words(samples: Samples, name: str) -> list[str]:
    return scoring.normalised(" ".join(segment.text for segment in contestants.transcribe(samples, name)))


def main() -> int:
    options = _arguments()
    report: dict[str, Any] = {}
    for name in options.contestants:
        begun = time.process_time()
        texts = invented(name, options.minutes)
        for sound, text in texts.items():
            print(f"{name}: {options.minutes:g} minutes of {sound}: {text[:200] or 'empty'}", flush=True)
        found = loops(name, options.windows, options.seed)
        for loop in found:
            print(f"{name}: window {loop['window']} ({loop['kind']}): {loop['times']} times {loop['phrase']!r}")
        seconds = time.process_time() - begun
        print(f"{name}: {len(found)} loops in {options.windows} windows; {seconds:.0f} CPU s in all", flush=True)
        report[name] = {"texts": texts, "loops": found}
    if options.json:
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    ours = [result for name, result in report.items() if name.startswith("vad")]
    return 1 if any(result["loops"] or any(result["texts"].values()) for result in ours) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--contestants",
        default=["vad ctranslate2"],
        help="separated by commas",
        type=lambda text: [part.strip() for part in text.split(",")],
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each sound without speech")
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything to this file as well")
    options = parser.parse_args()
    if unknown := set(options.contestants) - set(contestants.names()):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(contestants.names())}")
    return options


if __name__ == "__main__":
    sys.exit(main())
