"""The work of a bench: every contestant's turn at one recording, in a worker of its own, A B C A B C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import Any

from gputx.errors import ConfigurationError, GputxError, InputError, InstanceLostError, InterruptedBySignal
from gputx.models import FileReport
from gputx.workflows.bench_report import (
    Machine,
    Offer,
    Standing,
    Trial,
    Wanted,
    absent,
    contestants,
    name_of,
    ranked,
)
from gputx.workflows.hosts import Bench
from gputx.workflows.inputs import Source
from gputx.workflows.jobs import Job
from gputx.workflows.model import Engine
from gputx.workflows.transcription import Sending, Transcription
from gputx.workflows.word_errors import error_rate, words
from gputx.workflows.work import Work
from gputx.workflows.worker import Worker
from gputx_remote.engine.choice import Choice

_POLL_SECONDS = 0.2


@dataclass
class Contest(Work):
    """A :class:`Work` whose one recording is transcribed by everyone. Its texts are compared, not kept."""

    wanted: Wanted = field(default_factory=Wanted)
    rounds: int = 1
    said: tuple[str, ...] = ()
    """What is said in the recording, in words; empty where nobody knows."""
    batch_size: int | None = None
    ticks: Callable[[], float] = time.monotonic
    """Seconds that really pass: a sandbox's clock may be turned."""
    offer: Offer | None = None
    trials: list[Trial] = field(default_factory=list)

    @property
    def recording(self) -> Job:
        return self.jobs[0]

    @property
    def standings(self) -> list[Standing]:
        """What has been measured so far, fastest first."""
        choices = dict.fromkeys(trial.choice for trial in self.trials)
        default = self.offer.default if self.offer else None
        return ranked(
            Standing(
                choice,
                choice == default,
                tuple(trial for trial in self.trials if trial.choice == choice),
                self.recording.expected_seconds,
            )
            for choice in choices
        )

    def transcribe(self, bench: Bench) -> None:
        """Give every contestant its turns on ``bench``. One that can't run there is out, with its reason.

        On a second instance, after one was lost, the contest goes on where it was if that is the same machine.

        Raises:
            InputError, ConfigurationError: nobody is left of those that were asked for.
            InstanceLostError: the bench went away.
            GputxError: nobody could transcribe it.
        """
        offer = self._asked(bench)
        if self.offer is not None and self.offer != offer and self.trials:
            self.story.warn("this is another machine than before: the contest begins anew")
            self.trials.clear()
        self.offer = offer
        choices = self._admitted(offer)
        path = self._brought(bench)
        for number in range(1, self.rounds + 1):
            for choice in choices:
                turns = [trial for trial in self.trials if trial.choice == choice]
                if len(turns) < number and not any(trial.error for trial in turns):
                    engine = Engine(choice, self.batch_size, offer.device)
                    self.trials.append(self._trial(bench.running(engine), choice, number, path))
        self._somebody_did()

    def _asked(self, bench: Bench) -> Offer:
        """What can run there, from a worker's mouth."""
        stream = bench.engines()
        with self.story.phase("engines") as phase:
            try:
                for event in Worker(stream).events():
                    if event["event"] == "engines":
                        offer = _offer(event)
                        phase.detail = str(offer.machine)
                        return offer
            except (KeyError, TypeError) as error:
                raise GputxError(f"the worker said something unexpected of its engines: {error}") from error
            finally:
                stream.close()
            bench.check()
            raise GputxError(f"the worker did not say what can run there ({stream.epitaph()})")

    def _admitted(self, offer: Offer) -> list[Choice]:
        if choices := contestants(offer, self.wanted):
            return choices
        if lacking := absent(offer, self.wanted):
            lines = "; ".join(f"{decoder} needs {' and '.join(lacks)}" for decoder, lacks in lacking.items())
            raise ConfigurationError(f"no decoder that was asked for is installed there: {lines}")
        device = "the CPU" if offer.device == "cpu" else "CUDA"
        raise InputError(
            f"nothing that was asked for can run on {device}", hint="leave --compute-type or --algorithm away"
        )

    def _brought(self, bench: Bench) -> str:
        """The recording where every worker finds it: there before the first turn, so that nobody waits for it."""
        job = self.recording
        while True:
            self.stop.check()
            try:
                prepared = job.prepared.result(_POLL_SECONDS)
                break
            except NotYet:
                continue
        job.expected_seconds = prepared.duration_ms / 1000
        sending = Sending(self.story, job, threading.Event())
        try:
            path = bench.deliver(prepared.path, sending.progress)
        except BaseException:
            sending.close(ok=False)
            raise
        sending.close()
        return path

    def _trial(self, bench: Bench, choice: Choice, number: int, path: str) -> Trial:
        """One turn.

        Raises:
            InstanceLostError, InterruptedBySignal: it says nothing about the contestant.
        """
        name = name_of(choice) + (f", round {number} of {self.rounds}" if self.rounds > 1 else "")
        source = Source(name, self.recording.source.path, self.recording.stem)
        report = FileReport(name)
        seconds = self.recording.expected_seconds
        job = Job(
            self.recording.id,
            source,
            source.stem,
            report,
            seconds,
            label=f"{name}: ",
            prepared=self.recording.prepared,
        )
        trial = Trial(choice)
        task = Transcription(
            bench,
            [job],
            self.request.asked,
            self.story,
            lambda _: None,
            delivered={job.id: path},
            about=name,
            heard=_Stopwatch(trial, self.ticks),
        )
        try:
            loaded = task.run()
        except (InstanceLostError, InterruptedBySignal):
            raise
        except GputxError as error:
            trial.failure = error
            self.story.warn(f"{name}: {error.message}")
            return trial
        self.report.model, self.report.model_revision = loaded.model, loaded.revision
        self.report.device = loaded.device
        if report.error is not None:
            trial.failure = GputxError(report.error)
            self.story.warn(f"{name}: {report.error}")
        if report.transcript is not None:
            trial.processing_seconds = report.processing_seconds
            trial.text = report.transcript.text
            if self.said:
                trial.word_error_rate = error_rate(self.said, words(trial.text))
        return trial

    def _somebody_did(self) -> None:
        """Raises where nobody could transcribe it: the reason where it is one for all, else a GputxError with each."""
        failures = [(name_of(trial.choice), trial.failure) for trial in self.trials if trial.failure]
        if any(trial.failure is None for trial in self.trials):
            return
        if len({failure.message for _, failure in failures}) == 1:
            raise failures[0][1]
        details = tuple(f"{name}: {failure.message}" for name, failure in failures)
        raise GputxError("none of the decoders could transcribe it", details=details)


class _Stopwatch:
    """Told of every event of a trial's worker: takes the times and keeps what is not in a transcript."""

    def __init__(self, trial: Trial, ticks: Callable[[], float]) -> None:
        self._trial = trial
        self._ticks = ticks
        self._begun = ticks()
        self._greeted = False

    def __call__(self, event: dict[str, Any]) -> None:
        trial = self._trial
        match event["event"]:
            case "hello" if self._greeted:
                # The first worker died: the second is timed from its own start, as near as we know it.
                self._begun = self._ticks()
                trial.first_text_seconds = None
            case "hello":
                self._greeted = True
            case "model" if event["state"] == "ready":
                trial.load_seconds = self._ticks() - self._begun
                trial.compute_type = event["dtype"]
            case "note":
                trial.notes.append(event["text"])
            case "segment" if trial.first_text_seconds is None:
                trial.first_text_seconds = self._ticks() - self._begun
            case "finished":
                trial.memory, trial.gpu_memory = event.get("memory"), event.get("gpu_memory")
                trial.windows, trial.suspect = event.get("windows"), event.get("suspect")


def _offer(event: dict[str, Any]) -> Offer:
    machine = event["machine"]
    return Offer(
        event["device"],
        Choice(**event["default"]) if event["default"] else None,
        {decoder: tuple(packages) for decoder, packages in event["missing"].items()},
        Machine(machine["cpu"], machine["cores"], machine["memory"], machine["gpu"]),
    )
