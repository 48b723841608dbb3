"""Any container and codec in, 16 kHz mono out, block by block: decode, downmix, resample, FLAC for the wire.

Nothing here knows of models or of where the samples go; a 12-hour file never lives in memory.
"""

from gputx_remote.audio.opening import probe
from gputx_remote.audio.prepare import Prepared, prepare
from gputx_remote.audio.source import AudioInfo
from gputx_remote.audio.stream import SAMPLE_RATE, Channel, blocks, read

__all__ = ["SAMPLE_RATE", "AudioInfo", "Channel", "Prepared", "blocks", "prepare", "probe", "read"]
