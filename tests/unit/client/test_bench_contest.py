"""A contest against workers that answer by script: turns, reasons, second instances."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
from clocks import ManualClock
from test_transcription import HELLO, READY, ScriptedWorker, jobs, well

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InputError, InstanceLostError
from gputx.events import Event, EventStream, Note
from gputx.models import RunReport
from gputx.workflows.bench_contest import Contest
from gputx.workflows.bench_report import Wanted, name_of
from gputx.workflows.model import Engine
from gputx.workflows.story import Story
from gputx.workflows.work import RunRequest
from gputx.workflows.worker import Asked

ENGINES = {
    "event": "engines",
    "device": "cpu",
    "default": {"algorithm": "vad", "decoder": "ctranslate2", "compute_type": "int8"},
    "missing": {},
    "machine": {"cpu": "AMD EPYC", "cores": 2, "memory": 8 << 30, "gpu": None},
}
A, B = "vad torch float32", "vad ctranslate2 float32"
TWO = Wanted(decoders=("torch", "ctranslate2"), compute_types=("float32",))


def transcribes(command: dict[str, Any]) -> list[Any]:
    *others, finished = well(command)
    return [*others, {**finished, "memory": 5000, "gpu_memory": None, "suspect": 0}]


def runs_out(command: dict[str, Any]) -> list[Any]:
    started, *_ = well(command)
    return [started, {"event": "failed", "id": command["id"], "kind": "engine", "error": "not enough memory"}]


def fatal(kind: str, why: str) -> list[Any]:
    return [HELLO, {"event": "fatal", "kind": kind, "error": why}]


@dataclass
class Stage:
    """A bench whose workers behave by the name of their engine; it remembers their turns."""

    behaviour: dict[str, Any] = field(default_factory=dict)
    """By name: a script for the command, or a greeting that ends badly."""
    engines_event: dict[str, Any] = field(default_factory=lambda: ENGINES)
    lost_at: int | None = None
    turns: list[str] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    engine: Engine | None = None

    def running(self, engine: Engine) -> Self:
        self.engine = engine
        return self

    def engines(self) -> ScriptedWorker:
        return ScriptedWorker(well, [HELLO, self.engines_event, None])

    def start_worker(self) -> ScriptedWorker:
        assert self.engine is not None
        name = name_of(self.engine.choice)
        if len(self.turns) == self.lost_at:
            raise InstanceLostError("it was taken away")
        self.turns.append(name)
        does = self.behaviour.get(name, transcribes)
        return ScriptedWorker(transcribes, does) if isinstance(does, list) else ScriptedWorker(does, [HELLO, READY])

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        self.delivered.append(audio.name)
        return str(audio)

    def check(self) -> None:
        return


def contest(wanted: Wanted = TWO, rounds: int = 1, heard: list[Event] | None = None) -> Contest:
    request = RunRequest(("a.mp3",), Asked("sv", "transcribe"), Path(), ())
    events = EventStream([] if heard is None else [heard.append])
    ticks = itertools.count()
    return Contest(
        request,
        RunReport("r", "local", 0.0),
        jobs("a"),
        Story(events, ManualClock()),
        Stop(),
        wanted=wanted,
        rounds=rounds,
        said=("text", "of", "a", "flac"),
        ticks=lambda: float(next(ticks)),
    )


def test_turns_alternate_and_the_recording_goes_there_once() -> None:
    made, stage = contest(rounds=3), Stage()
    made.transcribe(stage)
    assert stage.turns == [A, B] * 3
    assert stage.delivered == ["a.flac"]
    for standing in made.standings:
        assert [trial.processing_seconds for trial in standing.trials] == [1.0] * 3
        assert standing.memory == 5000
        assert standing.word_error_rate == 0.0
        assert standing.speed == 4.0
    assert made.report.model == "m"


def test_times_are_counted_from_the_worker_s_start() -> None:
    made = contest()
    made.transcribe(Stage())
    for trial in made.trials:
        # One tick at its start, one when the model is ready, one at the first text.
        assert (trial.load_seconds, trial.first_text_seconds) == (1.0, 2.0)


def test_each_worker_is_told_its_engine_and_the_device() -> None:
    made, stage = contest(Wanted(decoders=("torch",), compute_types=("float32",))), Stage()
    made.batch_size = 4
    made.transcribe(stage)
    assert stage.engine is not None
    assert " ".join(stage.engine.arguments) == (
        "--algorithm vad --decoder torch --compute-type float32 --device cpu --batch-size 4"
    )


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (runs_out, "not enough memory"),
        (fatal("engine", "no kernel for this GPU"), "no kernel for this GPU"),
        (fatal("model", "it can't be converted"), "it can't be converted"),
        ([HELLO, None], "the worker ended (exit status 9) before it began a file"),
        (lambda command: [*well(command)[:1], None], "the worker ended (exit status 9) while transcribing it, twice"),
    ],
)
def test_who_can_not_is_out_with_the_reason_and_the_others_go_on(does: Any, why: str) -> None:
    heard: list[Event] = []
    made, stage = contest(rounds=2, heard=heard), Stage({A: does})
    made.transcribe(stage)
    first, last = made.standings
    assert (first.name, first.error, len(first.trials)) == (B, None, 2)
    assert (last.name, last.error, len(last.trials)) == (A, why, 1)
    assert f"{A}, round 1 of 2: {why}" in [event.text for event in heard if isinstance(event, Note)]


def test_where_nobody_can_the_reason_is_said_once() -> None:
    refused = fatal("model", "there is no such model")
    # As it would end a run: by its own exit code, with its own hint.
    with pytest.raises(ConfigurationError, match=r"^there is no such model$"):
        contest().transcribe(Stage({A: refused, B: refused}))
    with pytest.raises(GputxError) as caught:
        contest().transcribe(Stage({A: refused, B: runs_out}))
    assert caught.value.details == (f"{A}: there is no such model", f"{B}: not enough memory")


def test_what_is_not_there_is_said_before_any_turn() -> None:
    lacking = {**ENGINES, "missing": {"torch": ["torch"]}}
    with pytest.raises(ConfigurationError, match="torch needs torch"):
        contest(Wanted(decoders=("torch",))).transcribe(Stage(engines_event=lacking))
    with pytest.raises(InputError, match="on the CPU"):
        contest(Wanted(compute_types=("float16",))).transcribe(Stage())
    with pytest.raises(GputxError, match="unexpected"):
        contest().transcribe(Stage(engines_event={"event": "engines"}))


def test_on_another_instance_of_the_same_kind_it_goes_on_where_it_was() -> None:
    made = contest(rounds=2)
    with pytest.raises(InstanceLostError):
        made.transcribe(Stage(lost_at=3))
    assert len(made.trials) == 3
    second = Stage()
    made.transcribe(second)
    assert second.turns == [B]
    assert second.delivered == ["a.flac"]


def test_on_another_machine_it_begins_anew() -> None:
    made = contest(rounds=2)
    with pytest.raises(InstanceLostError):
        made.transcribe(Stage(lost_at=3))
    other = {**ENGINES, "machine": {**ENGINES["machine"], "cores": 8}}  # type: ignore[dict-item]
    second = Stage(engines_event=other)
    made.transcribe(second)
    assert second.turns == [A, B] * 2
    assert all(len(standing.trials) == 2 for standing in made.standings)
