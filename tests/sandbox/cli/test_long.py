"""What takes minutes; ``make long``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from product import HELD_OUT, Cli, wer

TIMES = 9


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_three_hour_recording(cli: Cli) -> None:
    """Nine times twenty minutes, over the wire and back; times stay in order to the end."""
    samples, rate = soundfile.read(HELD_OUT / "long20min.ogg", dtype="int16")
    with soundfile.SoundFile(cli.directory / "long.flac", "w", rate, 1) as file:
        for _ in range(TIMES):
            file.write(np.asarray(samples))
    reference = json.loads((HELD_OUT / "long20min.json").read_text(encoding="utf-8"))["text"]

    ended = cli("run", "long.flac", "--json", "--ttl", "3h", timeout=3000)

    (file_report,) = ended.document["files"]
    assert file_report["duration"] == pytest.approx(TIMES * len(samples) / rate, abs=1)
    moments = [moment for s in file_report["segments"] for moment in (s["start"], s["end"])]
    assert moments == sorted(moments)
    assert wer(" ".join([reference] * TIMES), file_report["text"]) <= 0.10
