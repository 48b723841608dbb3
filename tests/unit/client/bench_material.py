"""What the tests of the bench share: reports made by hand."""

from __future__ import annotations

from pathlib import Path

from gputx.errors import GputxError
from gputx.models import RunReport
from gputx.workflows.bench_report import BenchReport, Machine, Offer, Standing, Trial, ranked
from gputx_remote.engine.choice import Choice

MACHINE = Machine("AMD EPYC", 2, 8 << 30, None)
DEFAULT = Choice("vad", "ctranslate2", "int8")
TORCH = Choice("vad", "torch", "bfloat16")
STOCK = Choice("chunked", "transformers", "float32")


def offer(device: str = "cpu", **missing: tuple[str, ...]) -> Offer:
    return Offer(device, DEFAULT.on(device), missing, MACHINE)


def standing(choice: Choice, *seconds: float, wer: float | None = None, error: str | None = None) -> Standing:
    """Trials of these lengths of a minute of audio; one that failed where there is none."""
    trials = [Trial(choice, 1.0, 1.5, each, "hej", wer, 10**8, windows=2, suspect=0) for each in seconds]
    return Standing(
        choice, choice == DEFAULT, tuple(trials or [Trial(choice, failure=GputxError(error or "none"))]), 60.0
    )


def report(*standings: Standing, input_: str = "intervju.mp3", words: int | None = 100) -> BenchReport:
    run = RunReport("r1", "local", 100.0, model="tiny_sv", model_revision="0" * 40, device="cpu")
    made = BenchReport(run, input_, 60.0, 3, "sv", "intervju.txt" if words else None, words, MACHINE, "cpu")
    made.standings = ranked(standings)
    made.picture = Path("intervju.bench.svg")
    return made
