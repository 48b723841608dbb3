"""The FFmpeg side of decoding, through PyAV: MP3, and the audio track of m4a, mp4, mov, mkv, webm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import av
import numpy as np

from gputx_remote.audio.source import BLOCK_SECONDS, CONTAINERS, AudioInfo, Damage, FloatArray, Source
from gputx_remote.errors import AudioUnreadableError

OPTIONS = {"protocol_whitelist": "fd", "format_whitelist": CONTAINERS}
# A demuxer that fails this many times running makes no headway.
DEMUX_FAILURES = 100


class FfmpegSource(Source):
    """The best audio track of a container that FFmpeg has opened."""

    def __init__(self, container: Any) -> None:
        self._container = container
        stream = container.streams.best("audio")
        if stream is None:
            what = "a video without an audio track" if container.streams.video else "no audio track in it"
            raise AudioUnreadableError(what)
        self._stream = stream
        context = stream.codec_context
        duration = stream.duration and float(stream.duration * stream.time_base)
        if duration is None and container.duration is not None:
            duration = container.duration / av.time_base
        self.info = AudioInfo(
            duration_ms=None if duration is None else max(0, round(duration * 1000)),
            sample_rate=context.sample_rate,
            channels=context.channels,
            codec=context.name.removesuffix("float"),
            container=container.format.name,
        )

    def __enter__(self) -> FfmpegSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def blocks(self, damage: Damage) -> Iterator[tuple[int, FloatArray]]:
        """See :meth:`Source.blocks`. The rate is the decoded frames' own: HE-AAC's header may say half."""
        held: list[FloatArray] = []
        held_frames = 0
        rate = channels = 0
        for frame in self._packed(damage):
            samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
            if held and (frame.sample_rate, samples.shape[1]) != (rate, channels):
                yield rate, np.concatenate(held)
                held, held_frames = [], 0
            rate, channels = frame.sample_rate, samples.shape[1]
            held.append(samples)
            held_frames += len(samples)
            if held_frames >= rate * BLOCK_SECONDS:
                yield rate, np.concatenate(held)
                held, held_frames = [], 0
        if held:
            yield rate, np.concatenate(held)

    def _packed(self, damage: Damage) -> Iterator[Any]:
        """Frames as interleaved float32, at their own rate and layout.

        Converted by FFmpeg, because PyAV (18.1) reads beyond the planes of a planar frame of eight channels.
        """
        shape = converter = None
        for frame in self._frames(damage):
            if (now := (frame.format.name, frame.layout.name, frame.sample_rate)) != shape:
                shape, converter = now, av.AudioResampler(format="flt")
            if converter is not None:
                yield from converter.resample(frame)

    def _frames(self, damage: Damage) -> Iterator[Any]:
        for packet in self._packets(damage):
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                damage.skipped_frames += 1

    def _packets(self, damage: Damage) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        failures = 0
        while failures < DEMUX_FAILURES:
            try:
                packet = next(packets, None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                # A generator that raised is finished; a new one reads on from where the file stands.
                damage.skipped_frames += 1
                failures += 1
                packets = self._container.demux(self._stream)
                continue
            if packet is None:
                return
            failures = 0
            yield packet


def open_descriptor(descriptor: int) -> FfmpegSource:
    """Open the audio track of whatever FFmpeg recognises.

    Raises:
        AudioUnreadableError: the content is no audio or video, or has no audio track.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        container = av.open("fd:", options={**OPTIONS, "fd": str(descriptor)})
    except (av.error.FFmpegError, OSError) as error:
        raise AudioUnreadableError("its content is no audio or video that FFmpeg knows") from error
    try:
        return FfmpegSource(container)
    except AudioUnreadableError:
        container.close()
        raise
