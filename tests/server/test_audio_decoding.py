"""What strangers send becomes samples, or a refusal of one line; whatever it is, nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile
from surface import ROOT

from gputx_remote.server import decoding_child, system_calls
from gputx_remote.server.decoding import AudioDecoder, AudioRefusedError, Decoded
from gputx_remote.server.limits import Limits

HELD_OUT = ROOT / "examples" / "held-out"
MOST = 60.0
T = TypeVar("T")


class Decoding:
    """A decoder on a loop of its own."""

    def __init__(self, incoming: Path) -> None:
        self.incoming = incoming
        self.decoder = AudioDecoder(incoming, Limits(audio_seconds=MOST, queue_seconds=MOST, owner_seconds=MOST))
        self._loop = asyncio.Runner()

    def __call__(self, path: Path) -> Decoded:
        return self.run(self.decoder.decode(path))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    def close(self) -> None:
        self.decoder.close()
        self._loop.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoding]:
    decoding = Decoding(tmp_path_factory.mktemp("incoming"))
    yield decoding
    decoding.close()


@pytest.fixture
def decode(shared: Decoding) -> Decoding:
    for path in shared.incoming.iterdir():
        path.unlink()
    return shared


def test_a_recording_becomes_the_samples_that_run_would_hear(decode: Decoding) -> None:
    decoded = decode(HELD_OUT / "clip01.flac")
    heard, _ = soundfile.read(HELD_OUT / "clip01.flac", dtype="int16")
    assert np.array_equal(np.fromfile(decoded.path, "<i2"), heard)
    assert decoded.seconds == len(heard) / 16_000
    assert decoded.missing_seconds == 0.0


def test_stereo_of_another_rate_is_mixed_and_resampled(decode: Decoding, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(88_200) * 2 * np.pi * 440 / 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -0.5 * tone], axis=1), 44_100)
    decoded = decode(tmp_path / "a.wav")
    assert decoded.seconds == pytest.approx(2.0, abs=0.01)
    samples = np.fromfile(decoded.path, "<i2")[4000:-4000] / 32_768
    assert np.abs(samples).max() == pytest.approx(0.125, abs=0.01)


def test_samples_that_are_no_numbers_become_silence(decode: Decoding, tmp_path: Path) -> None:
    wrong = np.tile(np.array([np.nan, np.inf, -np.inf, 0.25], np.float32), 4000)
    soundfile.write(tmp_path / "nan.wav", wrong, 16_000, subtype="FLOAT")
    decoded = decode(tmp_path / "nan.wav")
    assert decoded.repaired_samples == 12_000
    assert set(np.fromfile(decoded.path, "<i2").tolist()) == {0, 8192}


def _wav(rate: int, channels: int, announced: int, data: bytes, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, bits)
    return (
        b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", announced) + data
    )  # fmt: skip


HOSTILE = {
    "empty": (b"", "empty"),
    "header only": (_wav(16_000, 1, 0, b""), "empty"),
    "text": (b"Kan du transkribera detta?\n" * 40, "unreadable"),
    "noise": (bytes(np.random.default_rng(6).integers(0, 256, 50_000, dtype=np.uint8)), "unreadable"),
    "playlist": (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "unreadable"),
    "playlist called wav": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "unreadable"),
    "dash": (b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://a/</BaseURL></MPD>', "unreadable"),
    "sdp": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n", "unreadable"),
    "a second of samples at 4 GHz": (_wav(0xFFFFFFF0, 1, 32_000, b"\0" * 32_000), None),
    "65535 channels": (_wav(48_000, 0xFFFF, 1 << 20, b"\1" * (1 << 20)), None),
    "one sample a second": (_wav(1, 1, 2000, b"\0\1" * 1000), "too_long"),
    "cut in the header": (_wav(16_000, 1, 1 << 20, b"")[:30], "unreadable"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_audio_is_refused_in_one_line(name: str, decode: Decoding, tmp_path: Path) -> None:
    content, kind = HOSTILE[name]
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(AudioRefusedError) as refused:
        decode(path)
    assert kind is None or refused.value.kind == kind
    assert refused.value.kind in {"empty", "unreadable", "too_long", "too_heavy"}
    assert "\n" not in str(refused.value)
    assert "/" not in str(refused.value)
    assert not list(decode.incoming.iterdir())


def test_a_header_that_announces_more_than_there_is_gives_what_there_is(decode: Decoding, tmp_path: Path) -> None:
    path = tmp_path / "lie.wav"
    path.write_bytes(_wav(16_000, 1, 0x7FFFFF00, b"\0\1" * 16_000))
    assert decode(path).seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("honest", [True, False])
def test_hours_of_silence_in_a_small_file_end_at_the_cap(honest: bool, decode: Decoding, tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    soundfile.write(path, np.zeros(8000 * 300, np.int16), 8000)
    if not honest:
        # STREAMINFO's count of samples: 36 bits, of which 0 means unknown.
        content = bytearray(path.read_bytes())
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        path.write_bytes(content)
    assert path.stat().st_size < 60_000
    with pytest.raises(AudioRefusedError, match="longer") as refused:
        decode(path)
    assert refused.value.kind == "too_long"
    assert not list(decode.incoming.iterdir())


def test_who_gives_up_leaves_nothing(decode: Decoding, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16_000 * 59, np.int16), 16_000)

    async def give_up() -> None:
        for pause in (0.0, 0.001, 0.004, 0.01):
            task = asyncio.create_task(decode.decoder.decode(path))
            await asyncio.sleep(pause)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await task).path.unlink()  # it was quicker
        # The threads that clean up have ended when their pool has.
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(give_up())
    assert not list(decode.incoming.iterdir())


def test_a_decoding_process_that_was_killed_is_replaced(decode: Decoding) -> None:
    decode(HELD_OUT / "clip00.flac")
    forks = decode.decoder._forks
    assert forks is not None
    child = forks.process
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert decode(HELD_OUT / "clip00.flac").seconds == 10.0


def test_several_are_decoded_at_once_and_each_gets_its_own(decode: Decoding) -> None:
    names = [f"clip{number:02}.flac" for number in range(6)]

    async def all_of_them() -> list[Decoded]:
        return await asyncio.gather(*(decode.decoder.decode(HELD_OUT / name) for name in names))

    decoded = decode.run(all_of_them())
    assert [one.seconds for one in decoded] == [soundfile.info(HELD_OUT / name).duration for name in names]
    assert len({one.path for one in decoded}) == len(names)


def test_the_process_knows_nothing_of_the_servers_environment(decode: Decoding) -> None:
    decode(HELD_OUT / "clip00.flac")
    forks = decode.decoder._forks
    assert forks is not None
    child = forks.process
    names = [line.partition(b"=")[0] for line in Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")]
    assert set(names) - {b""} == {b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS"}


def test_bounds_of_time_grow_with_what_is_allowed() -> None:
    short, long = decoding_child.Bounds(60.0), decoding_child.Bounds(4 * 3600.0)
    assert 30 <= short.cpu_seconds < long.cpu_seconds <= 600
    assert long.wall_seconds > long.cpu_seconds


GENERIC = Path("/usr/include/asm-generic/unistd.h")
CONFINED = """
import os, resource, signal, socket, sys, threading
from gputx_remote.server.confinement import confine
held = socket.socketpair()[0].detach()
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
confine(memory=64 << 20, cpu_seconds=20, wall_seconds=20, file_bytes=1000, descriptors=out)
def tried(work):
    try:
        work()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
print(tried(lambda: os.write(out, b"a" * 500)))
print(tried(lambda: [os.write(out, b"a" * 500) for _ in range(3)]))
print(tried(lambda: bytearray(256 << 20)))
print(tried(lambda: open("/etc/passwd")))
print(tried(lambda: open(sys.argv[1] + ".new", "w")))
print(tried(lambda: os.execv("/bin/true", ["true"])))
print(tried(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)))
print(tried(lambda: os.kill(os.getppid(), 0)))
for family, kind in (("AF_INET", "SOCK_STREAM"), ("AF_INET", "SOCK_DGRAM"), ("AF_UNIX", "SOCK_STREAM")):
    print(tried(lambda: socket.socket(getattr(socket, family), getattr(socket, kind))))
print(tried(socket.socketpair))
print(tried(lambda: socket.socket(fileno=held).send(b"out")))
print(tried(lambda: os.posix_spawn("/bin/true", ["true"], {})))
print(tried(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (8, 8))))
print(tried(lambda: signal.pidfd_send_signal(0, 0)))
thread = threading.Thread(target=print, args=("a thread",))
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and RLIMIT_AS are Linux's")
def test_a_confined_process_can_open_nothing_and_grow_no_further(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert said[:3] == ["done", "OSError", "MemoryError"]
    if not _filters():
        pytest.skip("this kernel filters no system calls: limits hold, and what Landlock there is")
    # Paths, programs, sockets whatever their family, other processes, and their limits.
    assert said[3:-1] == ["PermissionError"] * (len(said) - 4)
    assert len(said) == 17
    assert said[-1] == "a thread"


def _filters() -> bool:
    """Whether the kernel takes a filter: it says so to a process that asks for one (PR_GET_SECCOMP)."""
    import ctypes  # noqa: PLC0415 - for this question only

    return int(ctypes.CDLL(None).prctl(21, 0, 0, 0, 0)) >= 0


def test_every_system_call_has_the_number_its_kernel_gives_it() -> None:
    """Against the kernel's own headers, where they are installed."""
    headers = {0: Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h"), 1: GENERIC}
    for place, path in headers.items():
        if not path.exists():
            continue
        found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", path.read_text()))
        for name, numbers in system_calls._FORBIDDEN.items():
            if name in found:
                assert numbers[place] == int(found[name]), name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_says_no_to_what_is_listed_and_to_nothing_else(machine: str) -> None:
    place = ("x86_64", "aarch64").index(machine)
    listed = {numbers[place] for numbers in system_calls._FORBIDDEN.values()} - {None}
    program = list(struct.iter_unpack("=HBBI", system_calls._filter(machine)))
    audit = system_calls._AUDIT[machine]
    forbidden = {number for number in range(600) if _answered(program, number, audit) != system_calls._ALLOW}
    assert forbidden == listed
    assert _answered(program, 0x40000000 + 1, audit) == system_calls._DENY
    assert _answered(program, 1, 0x40000003) == system_calls._DENY, "a 32-bit call"


def _answered(program: list[tuple[int, int, int, int]], number: int, architecture: int) -> int:
    """What the kernel would answer to a call."""
    at, value = 0, 0
    while True:
        code, yes, no, what = program[at]
        at += 1
        match code:
            case 0x20:
                value = {0: number, 4: architecture}[what]
            case 0x15:
                at += yes if value == what else no
            case 0x35:
                at += yes if value >= what else no
            case 0x06:
                return what
