"""Swedish synthetic speech with exact word and phoneme times, through libespeak-ng (ctypes).

Debian and Ubuntu: apt install libespeak-ng1 espeak-ng-data
"""

import ctypes as C

import numpy as np
import soxr

VARIANTS = ["", "+m1", "+m2", "+m3", "+m4", "+f1", "+f2", "+f3", "+f4"]
SAMPLE_RATE = 16_000

# From espeak-ng/speak_lib.h
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 1
POS_CHARACTER = 1
CHARS_UTF8 = 1
EVENT_LIST_TERMINATED, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
RATE, PITCH, RANGE = 1, 3, 4


class _EventId(C.Union):
    _fields_ = [("number", C.c_int), ("name", C.c_char_p), ("string", C.c_char * 8)]


class _Event(C.Structure):
    _fields_ = [
        ("type", C.c_int),
        ("uid", C.c_uint),
        ("text_position", C.c_int),
        ("length", C.c_int),
        ("audio_position", C.c_int),
        ("sample", C.c_int),
        ("user", C.c_void_p),
        ("id", _EventId),
    ]


_samples: list[np.ndarray] = []
_words: list[tuple[int, int]] = []
_phones: list[tuple[str, int]] = []


@C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(_Event))
def _collect(wave, count, events):
    if count > 0 and wave:
        _samples.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
    index = 0
    while events[index].type != EVENT_LIST_TERMINATED:
        event = events[index]
        if event.type == EVENT_WORD:
            _words.append((event.text_position, event.sample))
        elif event.type == EVENT_PHONEME:
            _phones.append((event.id.string.decode("utf8", "ignore"), event.sample))
        index += 1
    return 0


_library = C.CDLL("libespeak-ng.so.1")
_native_rate = _library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, None, INITIALIZE_PHONEME_EVENTS)
_library.espeak_SetSynthCallback(_collect)
_voice = [b""]


def synth(text, variant="", speed=160, pitch=50, pitch_range=50):
    """Speak a text: (float32 samples at 16 kHz, words [(character, start s)], phones [(name, start s)])."""
    voice = ("sv" + variant).encode()
    if _voice[0] != voice:
        if _library.espeak_SetVoiceByName(voice) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice.decode()}")
        _voice[0] = voice
    for parameter, value in ((RATE, speed), (PITCH, pitch), (RANGE, pitch_range)):
        _library.espeak_SetParameter(parameter, int(value), 0)
    for collected in (_samples, _words, _phones):
        collected.clear()
    encoded = text.encode() + b"\0"
    _library.espeak_Synth(encoded, len(encoded), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
    _library.espeak_Synchronize()
    native = np.concatenate(_samples).astype(np.float32) / 32768
    words = [(position - 1, sample / _native_rate) for position, sample in _words]
    phones = [(name, sample / _native_rate) for name, sample in _phones]
    return soxr.resample(native, _native_rate, SAMPLE_RATE, "MQ"), words, phones
