"""The libsndfile side of decoding: WAV, FLAC, Ogg Vorbis and Opus, AIFF, AU, CAF, W64."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import soundfile

from gputx_remote.audio.source import BLOCK_SECONDS, AudioInfo, Damage, FloatArray, Source
from gputx_remote.errors import AudioUnreadableError

# First bytes of WAV, RF64, W64, AIFF, AU, CAF, FLAC and Ogg. Looked at first, because libsndfile takes much
# for MP3 and its MP3 decoder complains on stderr.
SIGNATURES = (b"RIFF", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS")


class SndfileSource(Source):
    """A file that libsndfile has opened. ``descriptor`` stays the caller's to close."""

    def __init__(self, sound: soundfile.SoundFile, descriptor: int) -> None:
        self._sound = sound
        self._descriptor = descriptor
        self.info = AudioInfo(
            duration_ms=round(sound.frames * 1000 / sound.samplerate),
            sample_rate=sound.samplerate,
            channels=sound.channels,
            codec=sound.subtype.lower(),
            container=sound.format.lower(),
        )

    def __enter__(self) -> SndfileSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sound.close()

    def blocks(self, damage: Damage) -> Iterator[tuple[int, FloatArray]]:
        """See :meth:`Source.blocks`. A damaged stretch hands the rest to FFmpeg, which reads past it."""
        rate = self._sound.samplerate
        buffer = np.empty((rate * BLOCK_SECONDS, self._sound.channels), dtype=np.float32)
        done = 0
        while True:
            try:
                block = self._sound.read(out=buffer)
            except soundfile.LibsndfileError:
                yield from self._rest(damage, done)
                return
            if not len(block):
                return
            done += len(block)
            yield rate, block

    def _rest(self, damage: Damage, done: int) -> Iterator[tuple[int, FloatArray]]:
        """Everything from frame ``done`` on, as FFmpeg decodes it; nothing where FFmpeg can't."""
        from gputx_remote.audio import ffmpeg  # noqa: PLC0415 - only a damaged file needs a second decoder

        damage.skipped_frames += 1
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            second = ffmpeg.open_descriptor(self._descriptor)
        except AudioUnreadableError:
            return
        to_drop = done
        with second as source:
            for rate, block in source.blocks(damage):
                dropped = min(to_drop, len(block))
                to_drop -= dropped
                if dropped < len(block):
                    yield rate, block[dropped:]


def open_descriptor(descriptor: int) -> SndfileSource | None:
    """Open what libsndfile reads well; None, with the file rewound, for everything else."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    known = os.read(descriptor, 4) in SIGNATURES
    os.lseek(descriptor, 0, os.SEEK_SET)
    if not known:
        return None
    try:
        return SndfileSource(soundfile.SoundFile(descriptor, closefd=False), descriptor)
    except soundfile.LibsndfileError:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return None
