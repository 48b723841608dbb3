"""One script in many conditions: the same words clean, in noise, quiet, over music, and so on.

Variants that only add or scale keep the times of the clean recording; the others are spoken anew from the same seed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .recording import Recording, Samples, Script, record, record_all
from .sounds import music, pink, rms, white

SNR_DB = (20, 15, 10)
MUSIC_DB = -15.0
QUIET_DB = -40.0
SECOND_SPEAKER_DB = -12.0
BABBLERS = 6

NAMES = (
    "clean",
    *(f"{kind} {snr} dB" for kind in ("white", "pink", "babble") for snr in SNR_DB),
    "quiet",
    "music",
    "silences",
    "overlap",
    "0.8x",
    "1.3x",
    "dense",
)


def make(name: str, seconds: float, seed: int = 1) -> Recording:
    """The variant of that name.

    Args:
        name: one of :data:`NAMES`. A level of noise or music is relative to the speech where there is speech.
        seconds: length of the recording.
        seed: another seed is another text in other voices.

    Raises:
        ValueError: no such variant.
    """
    script = Script(seconds, seed)
    spoken = {
        "silences": replace(script, long_pause_every=6),
        "overlap": replace(script, second_speaker_db=SECOND_SPEAKER_DB),
        "0.8x": replace(script, speed=0.8),
        "1.3x": replace(script, speed=1.3),
        "dense": replace(script, gap=(0.15, 0.8)),
    }
    if name not in NAMES:
        raise ValueError(f"no variant {name!r}; there are {', '.join(NAMES)}")
    clean = record(spoken.get(name, script))
    if name == "quiet":
        floor = _with(clean, white(len(clean.samples), seed), 30)
        return replace(floor, samples=floor.samples * np.float32(10 ** (QUIET_DB / 20)))
    if name == "music":
        return _with(clean, music(len(clean.samples), seed), -MUSIC_DB)
    if name.endswith(" dB"):
        kind, snr, _ = name.split()
        noise = {"white": white, "pink": pink, "babble": babble}[kind]
        return _with(clean, noise(len(clean.samples), seed + 100), float(snr))
    # As in examples/held-out, a little noise lies under all of it: a recording without any exists nowhere.
    return _with(clean, white(len(clean.samples), seed), 30)


def babble(length: int, seed: int = 0) -> Samples:
    """Six voices that talk without pause at once. What they say is held-out text of their own."""
    seconds = min(length / 16_000, 60.0) + 10
    made = np.zeros(length, np.float32)
    scripts = [Script(seconds, seed * 1000 + number, gap=(0.0, 0.1)) for number in range(BABBLERS)]
    for number, recording in enumerate(record_all(scripts)):
        # A minute of each, begun anew: nobody hears it repeat under five others with lengths of their own.
        voice = recording.samples[24_000:]
        voice = voice[: len(voice) - 40_000 - 7919 * number]
        made += np.resize(voice / np.float32(rms(voice)), length)
    return made * np.float32(0.1 / rms(made))


def _with(recording: Recording, noise: Samples, snr_db: float) -> Recording:
    """Add noise at a ratio to the speech, which is measured only where somebody speaks."""
    heard = np.zeros(len(recording.samples), bool)
    for sentence in recording.sentences:
        heard[sentence.start_ms * 16 : sentence.end_ms * 16] = True
    level = rms(recording.samples[heard]) * 10 ** (-snr_db / 20)
    mixed = recording.samples + noise * np.float32(level / rms(noise))
    return replace(recording, samples=np.clip(mixed, -1, 1))
