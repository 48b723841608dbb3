"""Silero VAD: how likely each 32 ms of audio is speech, from a small recurrent network through onnxruntime.

The form used here (Silero VAD v6 as faster-whisper ships it, MIT; see silero_vad.LICENSE) takes a whole run of frames
in one call, the state of its LSTM in and out: one call per 8 s costs a fraction of one call per frame.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from gputx_remote.speech.detector import FRAME, FRAMES_PER_SECOND, FloatArray, SpeechModelError
from gputx_remote.speech.levels import levels

CONTEXT = 64
"""Samples of the frame before that the network is given in front of each frame."""
STATE = (1, 1, 128)
TARGET_DB = -25.0
"""Where nothing as loud as this was heard lately, the network is given the sound louder."""
MAX_GAIN_DB = 60.0
DECAY_DB = 3.0 / FRAMES_PER_SECOND
"""How fast, per frame, what was loud is forgotten: 3 dB a second, so that a quieter speaker is soon heard."""
ASSET = "silero_vad.onnx"


class SileroDetector:
    """See :class:`gputx_remote.speech.detector.Detector`. State is carried from call to call.

    Quiet recordings are made louder first: of speech attenuated by 50 dB the network by itself misses the beginnings,
    by 60 dB all of it. The gain of a frame follows the loudest so far, so it never depends on what is still to come.
    """

    name = "silero"

    def __init__(self, session: Any) -> None:
        self._session = session
        self._hidden = np.zeros(STATE, np.float32)
        self._cell = np.zeros(STATE, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._loudest = TARGET_DB - MAX_GAIN_DB

    def probabilities(self, samples: FloatArray) -> FloatArray:
        """See :meth:`gputx_remote.speech.detector.Detector.probabilities`."""
        frames = samples.reshape(-1, FRAME)
        before = np.vstack([self._context, frames[:-1, -CONTEXT:]])
        heard = np.hstack([before, frames]) * self._gains(samples)[:, None]
        output, self._hidden, self._cell = self._session.run(None, {"input": heard, "h": self._hidden, "c": self._cell})
        self._context = frames[-1, -CONTEXT:].copy()
        found: FloatArray = output.reshape(-1)
        return found

    def _gains(self, samples: FloatArray) -> FloatArray:
        """What each frame is multiplied by: at least 1."""
        loud = levels(samples).astype(np.float64)
        forgotten = DECAY_DB * np.arange(1, len(loud) + 1)
        loudest = np.maximum.accumulate(np.maximum(loud + forgotten, self._loudest)) - forgotten
        self._loudest = float(loudest[-1])
        gains: FloatArray = (10 ** (np.clip(TARGET_DB - loudest, 0, MAX_GAIN_DB) / 20)).astype(np.float32)
        return gains


def load() -> SileroDetector:
    """The network from inside the package (also when that is a zip), on one thread.

    Raises:
        SpeechModelError: onnxruntime is not installed or can't load the network. The message says why, in one line.
    """
    try:
        # 0.1 s of import that a client without the local engine need not have installed.
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise SpeechModelError(f"onnxruntime can't be imported: {error}") from error
    try:
        network = resources.files("gputx_remote.speech").joinpath(ASSET).read_bytes()
        options = onnxruntime.SessionOptions()
        # More threads make the recurrent part slower, and the decoder has a use for them.
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(network, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no base but this
        raise SpeechModelError(f"{ASSET}: {(str(error).strip() or type(error).__name__).splitlines()[0]}") from error
    return SileroDetector(session)
