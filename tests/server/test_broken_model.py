"""A model that breaks while it serves, one that is slow to end, memory that was short for a while, and what is to be
looked at or noted beside the work and can't be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gated_decoder import POISON, GatedDecoder, window
from paper_engine import PaperEngine
from surface import CLIP, TOKEN, Surface

from gputx_remote.decoders.decoder import Decoded, Request
from gputx_remote.engine import memory
from gputx_remote.engine.memory import Place, Room
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.errors import EngineError
from gputx_remote.server import service as service_module
from gputx_remote.server import shared as shared_module
from gputx_remote.server.auth import Tokens
from gputx_remote.server.job import State
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.service import Service
from gputx_remote.server.settings import ServerSettings
from gputx_remote.server.shared import CancelledError, SharedDecoder


class _Lost(GatedDecoder):
    """A GPU whose context is gone once the poison was in it."""

    lost = False

    def decode(self, encoded: list[int], requests: Sequence[Request]) -> list[Decoded]:
        self.lost = self.lost or POISON in encoded
        if self.lost:
            raise EngineError("an illegal memory access was encountered")
        return super().decode(encoded, requests)


def _broken(decoder: GatedDecoder) -> tuple[SharedDecoder, list[str]]:
    decoder.gate.set()
    told: list[str] = []

    def known(room: Place) -> None:
        room.work([window(1)], lambda one, windows: one.decode(one.encode(windows), [Request(())]))

    shared = SharedDecoder(Room(decoder, 4, GatedDecoder, lambda _: None), known=known)
    shared.when_broken(lambda: told.append("told"))
    return shared, told


def test_a_model_that_fails_at_everything_is_said_to_be_broken() -> None:
    shared, told = _broken(_Lost())
    seat = shared.seat()
    assert seat.decode(seat.encode([window(3)]), [Request(())])[0].tokens == (3,)
    with pytest.raises(CancelledError):
        seat.decode(seat.encode([window(2), window(POISON)]), [Request(())] * 2)
    assert (shared.broken, told) == (True, ["told"])
    with pytest.raises(CancelledError):
        seat.decode(seat.encode([window(3)]), [Request(())])
    late: list[str] = []
    shared.when_broken(lambda: late.append("told"))
    assert late == ["told"]
    shared.close()
    assert not shared.at_work


def test_a_window_that_fails_alone_breaks_nothing() -> None:
    shared, told = _broken(GatedDecoder())
    seat = shared.seat()
    with pytest.raises(EngineError, match="poison"):
        seat.decode(seat.encode([window(POISON)]), [Request(())])
    assert seat.decode(seat.encode([window(3)]), [Request(())])[0].tokens == (3,)
    assert (shared.broken, told) == (False, [])
    shared.close()


def test_the_end_does_not_wait_for_a_turn_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "CLOSE_SECONDS", 0.05)
    decoder = GatedDecoder()
    shared = SharedDecoder(Room(decoder, 4, GatedDecoder, lambda _: None))
    seat = shared.seat()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: seat.decode(seat.encode([window(3)]), [Request(())]))
        assert decoder.begun.acquire(timeout=10)
        shared.close()
        assert shared.at_work
        with pytest.raises(CancelledError):
            asked.result(10)
        decoder.gate.set()


def test_a_room_grows_again_after_a_while_and_less_readily_each_time() -> None:
    room = Room(GatedDecoder(fits=2), 8, GatedDecoder, lambda _: None)
    room.size = room._first = 8
    room.regrow()

    def work(fits: int) -> int:
        room.decoder.fits = fits  # type: ignore[attr-defined]
        return len(room.work([window(1)] * room.size, lambda one, windows: one.encode(windows)))

    work(2)
    assert room.size == 2
    turns = 0
    while room.size < 8:
        work(8)
        turns += 1
    wanted = 4 * memory.GOOD_TURNS  # 8 and 4 did not fit
    assert turns <= 2 * wanted
    assert turns >= 2 * wanted - 4  # the pieces in which the first 8 were done at last count, too
    work(8)
    assert room.size == 8, "never above what it was"


def test_a_room_of_a_run_never_grows() -> None:
    room = Room(GatedDecoder(fits=2), 2, GatedDecoder, lambda _: None)
    room.size = 1
    for _ in range(2 * memory.GOOD_TURNS):
        room.work([window(1)], lambda one, windows: one.encode(windows))
    assert room.size == 1


class _Breaking(PaperEngine):
    """An engine whose every job is given up once it is told to break, as a broken model's are."""

    def breaks(self) -> None:
        self.broken = True
        self.allow(0)

    def transcribe(self, recording, options, **named):  # type: ignore[no-untyped-def]
        named["cancelled"] = lambda: self.broken
        return super().transcribe(recording, options, **named)


def test_jobs_of_a_broken_model_stay_for_the_next_process(tmp_path: Path) -> None:
    engine = _Breaking()
    jobs = Jobs(engine, tmp_path, Limits(running=2))  # type: ignore[arg-type]
    made = []
    for attached in (False, True, False, True):
        audio = jobs.incoming / f"{len(made)}.pcm"
        audio.write_bytes(bytes(32_000))
        made.append(jobs.submit(audio, 1.0, TranscribeOptions(language="sv"), attached=attached))
    with jobs._changed:
        engine.breaks()
        # Not begun again and again: a broken model gives each up at once.
        assert jobs._changed.wait_for(lambda: not jobs._running, timeout=10)
        begun = {job.order.attached: job.state for job in made if job.started}
    assert set(begun.items()) <= {(True, State.FAILED), (False, State.QUEUED)}
    jobs.drain(0.0)
    assert [job.state for job in made] == [State.QUEUED, State.FAILED, State.QUEUED, State.FAILED]
    assert {job.failure.code for job in made if job.failure} == {"restarting"}
    assert len(engine.begun) == 2
    jobs.close()
    working = PaperEngine()
    working.allow(10)
    jobs = Jobs(working, tmp_path, Limits())  # type: ignore[arg-type]
    with jobs._changed:
        assert jobs._changed.wait_for(lambda: not jobs._running and not jobs.waiting, timeout=10)
    assert {job.id: job.state for job in jobs.list()} == {made[0].id: State.DONE, made[2].id: State.DONE}
    jobs.close()


def test_a_server_whose_model_broke_says_so(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface.service, "failing", True)
    monkeypatch.setattr(surface.service, "draining", True)
    with surface.client() as client:
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failing")
        refused = client.post("/transcribe", files={"audio": CLIP.read_bytes()})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "restarting")
    assert int(refused.headers["retry-after"]) >= 1


def test_an_idle_file_that_cannot_be_touched_refuses_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = ServerSettings(model="tiny", idle_file=tmp_path / "nowhere" / "used")
    service = Service(settings, Tokens([("tests", TOKEN)]))
    with caplog.at_level("ERROR", logger="gputx.server"):
        service.touch()
    assert [record.message for record in caplog.records] == ["idle file"]


def test_memory_that_cannot_be_looked_at_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "EVERY_SECONDS", 0.0)
    service = Service(ServerSettings(model="tiny"), Tokens([("tests", TOKEN)]))
    looks = 0

    def look(_device: str) -> None:
        nonlocal looks
        looks += 1
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(service.memory, "look", look)

    async def run() -> None:
        watching = asyncio.create_task(service.watch_memory())
        while looks < 3 and not watching.done():
            await asyncio.sleep(0.01)
        assert not watching.done()
        watching.cancel()

    asyncio.run(run())
