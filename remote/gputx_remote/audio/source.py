"""What every decoder gives: a file's header, and its samples as decoded, at the file's own rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Containers that carry their own audio. hls, concat, dash and the like, which open other files, are not here.
CONTAINERS = (
    "3g2,3gp,aac,ac3,adts,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,loas,m4a,matroska,mj2,mov,mp2,mp3,mp4,"
    "mpeg,mpegts,mpegvideo,mxf,ogg,rm,spdif,tta,w64,wav,webm,wv,xwma"
)
BLOCK_SECONDS = 2


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. ``duration_ms`` is None where it doesn't say, as in recorded webm."""

    duration_ms: int | None
    sample_rate: int
    channels: int
    codec: str
    container: str


@dataclass
class Damage:
    """What had to be left out or repaired while decoding. Filled in as blocks are drawn."""

    skipped_frames: int = 0
    """Codec frames (packets) that could not be decoded."""
    repaired_samples: int = 0
    """Samples that were NaN or infinite and became zero."""


class Source(ABC):
    """An open file with one audio track."""

    info: AudioInfo

    @abstractmethod
    def blocks(self, damage: Damage) -> Iterator[tuple[int, FloatArray]]:
        """Yield (sample rate in Hz, samples of shape (frames, channels), full scale ±1), in order, once."""
