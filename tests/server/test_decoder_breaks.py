"""A decoder that dies, cannot start, lies, or has too many to serve: whose fault it is, and who goes next."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from surface import CLIP, ROOT, Surface

from gputx_remote.server import decoding_child, forks
from gputx_remote.server.decoding import AudioDecoder, AudioRefusedError, Decoded
from gputx_remote.server.decoding_child import Bounds
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.turns import SMALL_BYTES, Turns

ONE = ROOT / "examples" / "held-out" / "clip00.flac"
CHILD = """
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from gputx_remote.server import decoding_child as child
def confine(**_): {confine}
def outcome(source, destination, bounds): {outcome}
child.confine, child._outcome = confine, outcome
child.main(sys.argv[1:])
"""
COUNTS: dict[str, Any] = {"repaired_samples": 0, "skipped_frames": 0, "missing_seconds": 0.0}


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[AudioDecoder]:
    decoder = AudioDecoder(tmp_path, Limits(audio_seconds=60.0))
    yield decoder
    decoder.close()
    assert not list(tmp_path.glob("*.pcm"))


def _child(monkeypatch: pytest.MonkeyPatch, confine: str = "pass", outcome: str = "raise NotImplementedError") -> None:
    """What decoders started from here on do."""
    monkeypatch.setattr(forks, "_START", CHILD.format(confine=confine, outcome=outcome))


def _decoded(decoder: AudioDecoder) -> Decoded:
    decoded = asyncio.run(decoder.decode(ONE))
    decoded.path.unlink()
    return decoded


def _refusal(decoder: AudioDecoder) -> str:
    with pytest.raises(AudioRefusedError) as refused:
        asyncio.run(decoder.decode(ONE))
    assert "\n" not in str(refused.value)
    return refused.value.kind


def test_a_decoder_that_can_not_start_is_the_servers_trouble_and_is_said(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(forks, "_START", "raise ImportError('no module named av')")
        assert _refusal(decoder) == "unavailable"
    tried = [record for record in caplog.records if record.getMessage() == "decoding broke"]
    assert len(tried) == 2
    assert "no module named av" in tried[-1].why  # type: ignore[attr-defined]
    # Mended, it works again without a restart.
    assert _decoded(decoder).seconds == 10.0


def test_a_fork_that_somebody_kills_is_tried_once_more(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "mark"
    killed = f"(os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'x'), os.kill(os.getpid(), 9)))"
    counts = f"(os.write(destination, bytes(32000)), {COUNTS})[1]"
    _child(monkeypatch, killed, f"return {counts}")
    assert _decoded(decoder).seconds == 1.0
    assert caplog.text.count("decoding broke") == 1
    process = decoder._forks
    mark.unlink()
    assert _decoded(decoder).seconds == 1.0
    assert decoder._forks is process  # it was not its fault


def test_a_fork_that_is_killed_again_and_again_is_the_servers_trouble(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, "os.kill(os.getpid(), 9)")
    assert _refusal(decoder) == "unavailable"


@pytest.mark.parametrize("name", ["SIGXCPU", "SIGALRM", "SIGSEGV", "SIGABRT"])
def test_a_fork_that_ends_at_its_limits_or_breaks_is_its_files_fault(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    _child(monkeypatch, f"(signal.signal(signal.{name}, signal.SIG_DFL), os.kill(os.getpid(), signal.{name}))")
    assert _refusal(decoder) == "too_heavy"
    assert "decoding broke" not in caplog.text


def test_a_fork_that_used_up_its_time_is_told_from_one_that_was_killed() -> None:
    bounds = Bounds(60.0)
    ends = [decoding_child._end(-signal.SIGKILL, seconds, bounds)["end"] for seconds in (1.0, bounds.cpu_seconds)]
    assert ends == ["broken", "limit"]
    assert decoding_child._end(1, 0.1, bounds)["end"] == "broken"


def test_an_error_that_no_reader_was_ready_for_is_the_files(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(decoding_child, "decode", wrong)
    assert decoding_child._outcome(0, 1, Bounds(60.0))["refused"] == "unreadable"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({**COUNTS, "seconds": 1e9, "pid": -1}, None),
        ({"pid": -1}, "too_heavy"),
        ({**COUNTS, "repaired_samples": -1}, "too_heavy"),
        ({**COUNTS, "missing_seconds": float("nan")}, "too_heavy"),
        ({**COUNTS, "missing_seconds": "x"}, "too_heavy"),
        ([1], "too_heavy"),
        ({"refused": "unavailable", "message": "a\nb"}, "too_heavy"),
        ({"refused": ["x"], "message": ""}, "too_heavy"),
        ({"refused": "empty", "message": "nothing\nin it"}, "empty"),
    ],
)
def test_what_a_fork_claims_is_not_believed(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch, said: Any, kind: str | None
) -> None:
    plain = repr(said).replace("nan", "float('nan')")
    _child(monkeypatch, outcome=f"return (os.write(destination, bytes(32000)), {plain})[1]")
    if kind is None:
        assert _decoded(decoder).seconds == 1.0
    else:
        assert _refusal(decoder) == kind


def test_a_fork_that_answers_without_end_is_ended(decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    stays = "[os.write(n, b'[[[[' * 900 + b'\\n') for n in range(3, 16) if pipe(n)]; signal.pause()"
    code = CHILD.format(confine="pass", outcome=stays).replace("def confine", PIPE + "def confine")
    monkeypatch.setattr(forks, "_START", code)
    assert _refusal(decoder) == "too_heavy"


PIPE = """
import stat
def pipe(n):
    try: return stat.S_ISFIFO(os.fstat(n).st_mode)
    except OSError: return False
"""


def test_only_forks_of_its_own_are_killed(decoder: AudioDecoder) -> None:
    assert _decoded(decoder).seconds == 10.0
    process = decoder._forks
    assert process is not None
    for number in (0, 1, 7, 0xFFFFFFFF):
        process.kill(number)  # nobody's, or of one that has ended
    assert _decoded(decoder).seconds == 10.0
    assert decoder._forks is process


def test_decoded_audio_leaves_the_disk_its_reserve(tmp_path: Path) -> None:
    decoder = AudioDecoder(tmp_path, Limits(audio_seconds=60.0), reserve_bytes=1 << 60)
    try:
        assert _refusal(decoder) == "no_space"
    finally:
        decoder.close()
    assert not list(tmp_path.iterdir())


def test_what_may_be_written_is_what_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_child, "_free", lambda _: 1_000_000)
    assert Bounds(60.0, 400_000).file_bytes(0) == 600_000
    assert Bounds(60.0, 4_000_000).file_bytes(0) == 0
    assert Bounds(1.0, 0).file_bytes(0) <= 1_000_000
    with (
        (tmp_path / "out").open("wb") as out,
        ONE.open("rb") as source,
        pytest.raises(OSError, match="reserve") as full,
    ):
        decoding_child.decode(source.fileno(), out.fileno(), Bounds(60.0, 4_000_000))
    assert full.value.errno == errno.ENOSPC


class Files:
    """Files that wait for their turn; each ends when it is told to."""

    def __init__(self, places: int) -> None:
        self.now = 0.0
        self.turns = Turns(places, lambda: self.now)
        self.begun: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def come(self, name: str, size: int = 1000) -> None:
        """``name`` begins with its owner."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._one(name, size))
        await asyncio.sleep(0)

    async def _one(self, name: str, size: int) -> None:
        async with self.turns.turn(name[0], size):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await asyncio.sleep(0)

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await asyncio.sleep(0)


LARGE = 10 * SMALL_BYTES


def test_a_clip_does_not_wait_behind_large_files() -> None:
    async def play() -> list[str]:
        files = Files(2)
        for number in range(6):
            await files.come(f"a{number}", LARGE)
        await files.come("b-clip")
        await files.come("a-clip")
        assert files.begun == ["a0", "b-clip"]
        await files.end("b-clip")
        await files.end("a0")
        return files.begun

    assert asyncio.run(play()) == ["a0", "b-clip", "a-clip", "a1"]


def test_owners_are_served_in_turn_and_of_one_the_small_before_the_large() -> None:
    async def play() -> list[str]:
        files = Files(1)
        await files.come("a0")
        await files.come("a-large", LARGE)
        await files.come("a1")
        await files.come("a2")
        await files.come("b1")
        await files.come("c1")
        for name in ("a0", "b1", "c1", "a1", "a2"):
            await files.end(name)
        return files.begun

    assert asyncio.run(play()) == ["a0", "b1", "c1", "a1", "a2", "a-large"]


def test_no_file_waits_for_ever_behind_small_ones() -> None:
    async def play() -> list[str]:
        files = Files(1)
        await files.come("a0")
        await files.come("a-large", LARGE)
        files.now = 3600.0
        await files.come("a1")
        await files.end("a0")
        return files.begun

    assert asyncio.run(play()) == ["a0", "a-large"]


def test_who_gives_up_makes_room_whether_waiting_or_begun() -> None:
    async def play() -> list[str]:
        files = Files(1)
        for name in ("a0", "b0", "c0"):
            await files.come(name)
        await files.give_up("b0")
        await files.give_up("a0")
        await files.end("c0")
        # One whose turn comes in the moment in which it gives up.
        await files.come("d0")
        await files.come("e0")
        await files.come("f0")
        files._ends["d0"].set()
        await asyncio.sleep(0)
        await files.give_up("e0")
        assert not files.turns._served.keys() - {"e", "f"}
        return files.begun

    assert asyncio.run(play())[-1] == "f0"


def test_a_server_that_can_not_decode_says_so_and_is_well_otherwise(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Decoded:
        raise AudioRefusedError("unavailable", "not now")

    monkeypatch.setattr(AudioDecoder, "decode", broken)
    with surface.client() as client:
        answer = client.post("/transcribe", files={"audio": CLIP.read_bytes()})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "decoder_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/health").status_code == httpx.codes.OK
    assert not surface.settled()


def test_a_disk_that_can_not_hold_one_more_job_is_said_to_be_full(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Jobs, "submit", full)
    with surface.client() as client:
        answer = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert not surface.settled()


def test_owners_of_uploads_are_told_apart(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[str] = []
    real = AudioDecoder.decode

    async def decode(self: AudioDecoder, upload: Path, owner: str = "") -> Decoded:
        owners.append(owner)
        return await real(self, upload, owner)

    monkeypatch.setattr(AudioDecoder, "decode", decode)
    with surface.client() as client:
        assert client.post("/transcribe", files={"audio": CLIP.read_bytes()}).status_code == httpx.codes.OK
    assert owners
    assert all(owners)
