"""What is said of a recording that could be read, but not as it announced itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from clocks import ManualClock

from gputx.clock import Stop
from gputx.events import Event, EventStream, Note
from gputx.workflows.inputs import Source
from gputx.workflows.jobs import Preparation, open_jobs
from gputx.workflows.story import Story


def warnings_for(path: Path, scratch: Path) -> list[str]:
    heard: list[Event] = []
    jobs = open_jobs([Source(path.name, path, path.stem)], [path.stem])
    preparation = Preparation(jobs, scratch, Story(EventStream([heard.append]), ManualClock()), Stop())
    jobs[0].prepared.result(timeout=30)
    preparation.close()
    return [event.text for event in heard if isinstance(event, Note) and event.level == "warning"]


def test_samples_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    samples = np.zeros(16_000, dtype="float32")
    samples[100:140] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    assert warnings_for(tmp_path / "nan.wav", tmp_path) == ["nan.wav: 40 samples were no numbers: silence now"]


def test_a_recording_that_was_cut_off_says_so(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp3"
    soundfile.write(whole, np.random.default_rng(7).normal(0, 0.1, 16_000 * 20).astype("float32"), 16_000)
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    (text,) = [text for text in warnings_for(cut, tmp_path) if "cut off" in text]
    assert text.startswith("cut.mp3: it says it is 20.")


def test_a_whole_recording_needs_no_warning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "well.flac", np.zeros(16_000, dtype="int16"), 16_000)
    assert warnings_for(tmp_path / "well.flac", tmp_path) == []
