"""Sounds without speech, at any length: silence, noises, a tone, music, applause.

All are float32 of shape (samples,) at 16 kHz, full scale ±1, and the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

RATE = 16_000
LOUD = 0.1
"""Root mean square of a sound where nothing else is said: -20 dB, about that of speech at a usual level."""


def silence(length: int, seed: int = 0) -> Samples:  # noqa: ARG001 - every sound is called alike
    """Digital silence."""
    return np.zeros(length, np.float32)


def white(length: int, seed: int = 0) -> Samples:
    """Gaussian noise, as strong at every frequency."""
    return _at(np.random.default_rng(seed).standard_normal(length, np.float32), LOUD)


def pink(length: int, seed: int = 0) -> Samples:
    """Noise that falls by 3 dB an octave, by shaping the spectrum of white noise a minute at a time."""
    rng = np.random.default_rng(seed)
    made = np.empty(length, np.float32)
    for start in range(0, length, 60 * RATE):
        stop = min(start + 60 * RATE, length)
        spectrum = np.fft.rfft(rng.standard_normal(stop - start))
        spectrum /= np.sqrt(np.arange(len(spectrum)).clip(1))
        spectrum[0] = 0
        made[start:stop] = _at(np.fft.irfft(spectrum, stop - start), LOUD)
    return made


def tone(length: int, seed: int = 0, *, hertz: float = 440.0) -> Samples:  # noqa: ARG001 - as above
    """A sine."""
    return _at(np.sin(2 * np.pi * hertz * np.arange(length) / RATE), LOUD)


def music(length: int, seed: int = 0) -> Samples:
    """Four chords in turn over a bass, a kick drum on each beat and a hi-hat between them, 108 beats a minute."""
    rng = np.random.default_rng(seed)
    beat = round(RATE * 60 / 108)
    made = np.zeros(length + beat, np.float32)
    progression = [(57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62)]  # A minor, F, C, G; MIDI notes
    chords = [_chord(notes, 4 * beat) for notes in progression]
    kick, hat = _kick(), (rng.standard_normal(RATE // 20) * np.linspace(0.12, 0, RATE // 20) ** 2).astype(np.float32)
    for number, start in enumerate(range(0, length, beat)):
        part = chords[number // 4 % 4][number % 4 * beat :][:beat]
        made[start : start + beat] += part
        _add(made, kick, start)
        _add(made, hat * np.float32(8 * rng.uniform(0.6, 1.0)), start + beat // 2)
    return _at(made[:length], LOUD)


def applause(length: int, seed: int = 0) -> Samples:
    """Forty people who clap about four times a second each, in bouts that swell and fade."""
    rng = np.random.default_rng(seed)
    clap_length = RATE // 25
    decay = np.exp(-np.arange(clap_length) / (0.006 * RATE))
    # Hands differ in size: each clap is noise through a resonance of its own between 800 and 2,500 Hz.
    claps = []
    for _ in range(64):
        spectrum = np.fft.rfft(rng.standard_normal(clap_length))
        frequency = np.fft.rfftfreq(clap_length, 1 / RATE)
        spectrum *= 1 / (1 + ((frequency - rng.uniform(800, 2500)) / 700) ** 2)
        claps.append((np.fft.irfft(spectrum, clap_length) * decay).astype(np.float32))
    made = np.zeros(length + clap_length, np.float32)
    for _ in range(40):
        loudness, now = rng.uniform(0.3, 1.0), rng.uniform(0, 0.3)
        while now * RATE < length:
            swell = 0.55 - 0.45 * np.cos(2 * np.pi * now / 20)
            _add(made, claps[rng.integers(64)] * np.float32(loudness * swell), int(now * RATE))
            now += 0.25 * rng.uniform(0.8, 1.25)
    return _at(made[:length], LOUD)


NON_SPEECH: dict[str, Callable[[int, int], Samples]] = {
    "silence": silence,
    "white noise": white,
    "pink noise": pink,
    "tone": tone,
    "music": music,
    "applause": applause,
}
"""Name to maker (length in samples, seed)."""


def rms(samples: Samples) -> float:
    """Root mean square of all samples; 0 for none."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def _at(samples: npt.NDArray[np.floating], level: float) -> Samples:
    made = np.asarray(samples, np.float32)
    present = rms(made)
    # Peaks are cut at full scale, as a recorder would.
    return np.clip(made * np.float32(level / present), -1, 1) if present else made


def _chord(notes: tuple[int, ...], length: int) -> Samples:
    time = np.arange(length) / RATE
    envelope = np.minimum(time / 0.02, 1) * np.exp(-time / 1.8)
    total = np.zeros(length)
    for note in (*notes, notes[0] - 24):
        hertz = 440 * 2 ** ((note - 69) / 12)
        total += sum(np.sin(2 * np.pi * hertz * harmonic * time) / harmonic**1.5 for harmonic in range(1, 6))
    return np.asarray(0.15 * total * envelope, np.float32)


def _kick() -> Samples:
    time = np.arange(RATE // 4) / RATE
    sweep = 50 * time + 3 * (1 - np.exp(-time / 0.03))
    return np.asarray(0.9 * np.sin(2 * np.pi * sweep) * np.exp(-time / 0.07), np.float32)


def _add(made: Samples, sound: Samples, start: int) -> None:
    stop = min(start + len(sound), len(made))
    made[start:stop] += sound[: stop - start]
