"""Recordings that are none, or worse: bytes by name, made from a seed."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

HELD_OUT = Path(__file__).resolve().parents[2] / "examples" / "held-out"
CLIP = HELD_OUT / "clip00.flac"
LONG = HELD_OUT / "long3min.flac"
RATE = 16_000

Maker = Callable[[random.Random], bytes]


def _written(samples: np.ndarray, kind: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _noise(draw: random.Random, seconds: float) -> np.ndarray:
    samples = np.random.default_rng(draw.randrange(1 << 32)).standard_normal(round(seconds * RATE))
    return (0.1 * samples).astype(np.float32)


def _music(draw: random.Random) -> bytes:
    """Chords, each half a second."""
    time = np.arange(RATE // 2) / RATE
    chords = [
        sum(np.sin(2 * np.pi * 110 * 2 ** ((draw.randrange(36) + step) / 12) * time) for step in (0, 4, 7)) / 6
        for _ in range(12)
    ]
    return _written(np.concatenate(chords).astype(np.float32))


def _bomb(_draw: random.Random) -> bytes:
    """Two hours of silence in half a megabyte."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, format="FLAC") as out:
        block = np.zeros(RATE * 600, np.int16)
        for _ in range(12):
            out.write(block)
    return file.getvalue()


def _lying(draw: random.Random) -> bytes:
    """A WAV whose header says what it likes."""
    announced = draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, draw.randrange(1 << 32)))
    channels = draw.choice((0, 1, 2, 255, 65_535))
    rate = draw.choice((0, 1, 8_000, RATE, 0xFFFFFFFF))
    bits = draw.choice((0, 1, 8, 16, 24, 32, 64, 65_535))
    kind = draw.choice((0, 1, 3, 6, 0x55, 0xFFFE, 0xFFFF))
    block = min(65_535, channels * max(1, bits // 8))
    form = struct.pack("<HHIIHH", kind, channels, rate, min(0xFFFFFFFF, rate * block), block, bits)
    head = b"RIFF" + struct.pack("<I", draw.choice((announced, 36))) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", announced) + draw.randbytes(draw.randrange(20_000))


def _flipped(draw: random.Random) -> bytes:
    """A recording with bytes that were changed on the way."""
    data = bytearray(draw.choice((CLIP, HELD_OUT / "clip01.flac")).read_bytes())
    for _ in range(draw.choice((1, 10, 200))):
        data[draw.randrange(draw.choice((64, len(data))))] = draw.randrange(256)
    return bytes(data)


def _cut(draw: random.Random) -> bytes:
    data = draw.choice((CLIP, HELD_OUT / "long20min.ogg")).read_bytes()
    return data[: draw.randrange(1, min(len(data), 200_000))]


def _nan(draw: random.Random) -> bytes:
    samples = _noise(draw, 3)
    samples[draw.randrange(4) :: draw.choice((1, 2, 100))] = draw.choice((np.nan, np.inf, -np.inf, 3e38))
    return _written(samples, subtype="FLOAT")


def _magic(draw: random.Random) -> bytes:
    """The beginning of a container, and then nothing that belongs to it."""
    begins = (
        b"OggS\0\2",
        b"fLaC\0\0\0\x22",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"\xff\xfb\x90\x64",
        b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x20ftypM4A \0\0\0\0",
        b"FORM\xff\xff\xff\xffAIFFCOMM",
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"caff\0\1\0\0desc",
        b"#!AMR\n",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"wvpk",
        b".snd\0\0\0\x18\xff\xff\xff\xff",
        b"Creative Voice File\x1a",
        b"\0\0\1\xba",
    )
    return draw.choice(begins) + draw.randbytes(draw.randrange(50_000))


def _playlist(draw: random.Random) -> bytes:
    targets = (
        "http://127.0.0.1:9/x.ts",
        "file:///etc/passwd",
        "/etc/passwd",
        "concat:/etc/hosts|/etc/passwd",
        "data:,x",
    )
    target = draw.choice(targets)
    return draw.choice(
        (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{target}'\n",
            f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
            f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "{target}">]><MPD>&b;</MPD>',
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\na=control:{target}\n",
            f"[Reference]\nRef1={target}\n",
        )
    ).encode()


CORPUS: dict[str, Maker] = {
    "silence": lambda draw: _written(np.zeros(draw.randrange(1, 5 * RATE), np.float32)),
    "music": _music,
    "noise": lambda draw: _written(_noise(draw, 4)),
    "clipped noise": lambda draw: _written(np.sign(_noise(draw, 3)), subtype="FLOAT"),
    "no bytes": lambda _draw: b"",
    "one byte": lambda draw: draw.randbytes(1),
    "random bytes": lambda draw: draw.randbytes(draw.randrange(100_000)),
    "flac bomb": _bomb,
    "lying wav": _lying,
    "flipped bytes": _flipped,
    "cut short": _cut,
    "not a number": _nan,
    "container without content": _magic,
    "playlist": _playlist,
    "no samples": lambda _draw: _written(np.zeros(0, np.float32)),
    "many channels": lambda draw: _written(np.tile(_noise(draw, 1)[:, None], (1, draw.choice((2, 8, 64))))),
    "odd rate": lambda draw: _written(_noise(draw, 1), rate=draw.choice((1, 7, 999, 11_025, 192_000, 655_350))),
    "text": lambda _draw: b"Det var en text och inget annat. " * 100,
}
"""By name, a maker of one file."""
