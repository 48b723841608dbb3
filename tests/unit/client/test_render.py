"""What a person sees: lines that fit any width, receipts that are true, names that can't draw on the terminal."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import pytest
from rich.console import Console

from gputx.cli.render import receipt
from gputx.cli.render.live import LiveReader
from gputx.cli.render.plain import PlainReader
from gputx.errors import CapacityError, InterruptedBySignal, StillRunningError
from gputx.events import (
    AttemptMade,
    Event,
    EventStream,
    FileFinished,
    Note,
    PhaseFinished,
    PhaseProgress,
    PhaseStarted,
    PlanMade,
    SegmentReady,
)
from gputx.models import Cost, FileReport, Instance, Market, RunReport, Stay
from gputx.workflows.documents import metadata, run_document
from gputx_remote.transcript import Segment, Transcript

STORY: list[Event] = [
    PlanMade(0, ("intervju\x1b[31m\n.mp3",), 1204, "sv", "aws"),
    PhaseStarted(0, "pools"),
    PhaseFinished(1.9, "pools", 0, True, "6 pools, best: eu-north-1b g4dn.xlarge spot"),
    AttemptMade(2, "eu-north-1a g4dn.xlarge spot", "InsufficientInstanceCapacity", "no capacity"),
    AttemptMade(2, "eu-north-1b g4dn.xlarge spot", None, "launched"),
    PhaseStarted(2, "transcribe", "intervju.mp3"),
    PhaseProgress(5, "transcribe", 819, 1204, "seconds"),
    SegmentReady(5, "intervju.mp3", 0, 4000, "… och då sa läkaren att vi skulle vänta till på torsdag."),
    Note(6, "model KBLab/kb-whisper-small is not on this machine: downloading it from the Hugging Face hub"),
    Note(6, "something to know", "warning"),
    PhaseFinished(9, "transcribe", 2, True, "20 min 04 s, 41 windows"),
    FileFinished(9, "intervju.mp3", None, ("intervju.txt", "intervju.srt")),
    FileFinished(9, "annan.mp3", "the file is empty (0 bytes)"),
    PhaseStarted(9, "terminate"),
    PhaseFinished(10, "terminate", 9, False, "could not confirm"),
]


@pytest.mark.parametrize("width", [40, 50, 80, 120])
def test_live_lines_fit_the_terminal_and_break_between_words(width: int) -> None:
    file = io.StringIO()
    reader = LiveReader(Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False))
    for event in STORY:
        reader(event)
    lines = file.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    assert "InsufficientInstanceCapacity" in text
    assert "✗ ending the instance" in text
    assert "the file is empty" in text
    assert "\x1b[31m" not in file.getvalue()


def test_plain_lines_tell_the_same_and_quiet_only_the_trouble() -> None:
    loud: list[str] = []
    quiet: list[str] = []
    stream = EventStream([PlainReader(loud.append, quiet=False), PlainReader(quiet.append, quiet=True)])
    for event in STORY:
        stream.emit(event)
    assert "transcribed: 20 min 04 s, 41 windows (7.0 s)" in loud
    assert "eu-north-1a g4dn.xlarge spot: no capacity (InsufficientInstanceCapacity)" in loud
    assert quiet == ["warning: something to know", "error: annan.mp3: the file is empty (0 bytes)"]
    assert not any("\n" in line or "\x1b" in line for line in loud)


def test_a_reader_that_fails_is_dropped_and_the_others_hear_on() -> None:
    heard: list[Event] = []

    def broken(_event: Event) -> None:
        raise OSError("no terminal")

    stream = EventStream([broken, heard.append])
    for event in STORY:
        stream.emit(event)
    assert heard == STORY
    assert len(stream.failures) == 1


def report(**changes: object) -> RunReport:
    made = RunReport("r1", "aws", 100.0, model="m", model_revision="0" * 40)
    transcript = Transcript((Segment(0, 1500, "Hej."), Segment(1500, 4000, "Då så.")), "sv", 4000)
    made.files = [FileReport("a.mp3", transcript, 2.0, [Path("a.txt")], ["s3://b/a"])]
    made.instance = Instance("i-1", "running", "g4dn.xlarge", "eu-north-1b", Market.SPOT, 100.0)
    made.cost = Cost((Stay(90.0, 0.18, 0.54),))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_receipts_are_true() -> None:
    assert "$0.0045 (on-demand would have been $0.0135)" in receipt.receipt(report())
    assert receipt.receipt(report()).endswith("nothing left running")
    assert "stopped" in receipt.receipt(report(ending=InterruptedBySignal(signal.SIGINT)))
    alive = receipt.receipt(report(ending=StillRunningError("i-1")))
    assert alive.endswith("something may still be running")
    assert "nothing" not in alive
    none = receipt.receipt(report(ending=CapacityError("none"), instance=None, cost=None))
    assert none.endswith("nothing was launched")
    assert receipt.receipt(report(instance=None, cost=None, place="local")).endswith("on this machine")


def test_money_counts_each_instance_a_minute_at_least() -> None:
    cost = Cost((Stay(10.0, 0.36, 0.72), Stay(120.0, 0.36, None)))
    assert cost.billed_seconds == 180
    assert cost.total == pytest.approx(0.018)
    assert cost.on_demand_total is None


def test_documents_are_whole_whatever_happened() -> None:
    for made in (report(), report(instance=None, cost=None, ending=CapacityError("no pool"), model=None)):
        document = json.loads(json.dumps(run_document(made)))
        assert set(document) == {"version", "run", "files"}
        assert {"instance_id", "zone", "market", "image", "phases", "attempts", "cost", "error"} <= set(document["run"])
    (file,) = run_document(report())["files"]
    assert file["segments"][1] == {
        "start": 1.5,
        "end": 4.0,
        "text": "Då så.",
        "confidence": None,
        "suspect": False,
        "words": None,
    }
    assert metadata(report(), report().files[0])["real_time_factor"] == 0.5
