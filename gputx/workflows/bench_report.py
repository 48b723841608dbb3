"""What a bench measured: trials, what they come to for each contestant, and the report of it all. Plain values."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gputx.errors import GputxError
from gputx.models import RunReport
from gputx_remote.engine.choice import ALGORITHMS, DECODERS, SUPPORTED, Choice


@dataclass(frozen=True)
class Wanted:
    """Which contestants were asked for; what is empty leaves it open."""

    algorithms: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    compute_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """The machine that was measured. ``memory`` is in bytes; ``gpu`` is None where none can be used."""

    cpu: str
    cores: int
    memory: int
    gpu: str | None

    def __str__(self) -> str:
        cores = f"{self.cores} core{'' if self.cores == 1 else 's'} of {self.cpu}"
        return f"{self.gpu}, {cores}" if self.gpu else cores


@dataclass(frozen=True)
class Offer:
    """What the worker's event ``engines`` said: see :class:`gputx_remote.engine.loading.Offer`."""

    device: str
    default: Choice | None
    missing: Mapping[str, tuple[str, ...]]
    machine: Machine


def contestants(offer: Offer, wanted: Wanted) -> list[Choice]:
    """All that can be had there and was asked for, the default first.

    ``vad`` runs with every decoder in every arithmetic. ``chunked`` and ``sequential``, which are transformers' own,
    are there to be compared with: in their default arithmetic, unless others are asked for.
    """
    found: list[Choice] = []
    for decoder in DECODERS[1:]:
        if decoder in offer.missing or (wanted.decoders and decoder not in wanted.decoders):
            continue
        kinds = SUPPORTED[decoder, offer.device]
        chosen = [kind for kind in kinds if not wanted.compute_types or kind in wanted.compute_types]
        found += [Choice("vad", decoder, kind) for kind in chosen]
        if decoder == "transformers":
            few = chosen if wanted.compute_types else kinds[:1]
            found += [Choice(algorithm, decoder, kind) for algorithm in ("chunked", "sequential") for kind in few]
    found = [choice for choice in found if not wanted.algorithms or choice.algorithm in wanted.algorithms]
    # Stable: beside the default in front, decoders stay in their order.
    return sorted(found, key=lambda choice: (choice != offer.default, ALGORITHMS.index(choice.algorithm)))


def absent(offer: Offer, wanted: Wanted) -> dict[str, tuple[str, ...]]:
    """Decoders that were asked for and are not installed there, with the packages they lack."""
    others_only = wanted.algorithms and "vad" not in wanted.algorithms
    return {
        decoder: packages
        for decoder, packages in offer.missing.items()
        if (not wanted.decoders or decoder in wanted.decoders) and not (others_only and decoder != "transformers")
    }


def name_of(choice: Choice) -> str:
    """``vad ctranslate2 int8``; what transformers does by itself goes without its name: ``chunked float32``."""
    return " ".join([choice.algorithm, *([choice.decoder] if choice.algorithm == "vad" else []), choice.compute_type])


@dataclass
class Trial:
    """One contestant's turn, in a worker of its own. Seconds are None where it did not get so far."""

    choice: Choice
    load_seconds: float | None = None
    """From the worker's start until its model was ready."""
    first_text_seconds: float | None = None
    """From the worker's start to the first segment."""
    processing_seconds: float | None = None
    """From opening the recording to its last segment, as the worker counts it."""
    text: str | None = None
    word_error_rate: float | None = None
    memory: int | None = None
    """Bytes the worker held at most."""
    gpu_memory: int | None = None
    compute_type: str | None = None
    """What it computed in, where its library or processor can't do just what was chosen."""
    windows: int | None = None
    suspect: int | None = None
    notes: list[str] = field(default_factory=list)
    failure: GputxError | None = None
    """Why it has no time."""

    @property
    def error(self) -> str | None:
        return self.failure.message if self.failure else None


@dataclass(frozen=True)
class Standing:
    """A contestant with all its trials. Figures are medians over those that went well, memory the most of all."""

    choice: Choice
    default: bool
    """Whether it is what serves where nothing is asked for."""
    trials: tuple[Trial, ...]
    duration_seconds: float
    """Of the recording."""

    @property
    def name(self) -> str:
        return name_of(self.choice)

    @property
    def error(self) -> str | None:
        return next((trial.error for trial in self.trials if trial.error), None)

    @property
    def seconds(self) -> float | None:
        return self._median(trial.processing_seconds for trial in self.trials)

    @property
    def speed(self) -> float | None:
        """Seconds of audio a second: 10 is ten times faster than real time."""
        return self.duration_seconds / self.seconds if self.seconds else None

    @property
    def load_seconds(self) -> float | None:
        return self._median(trial.load_seconds for trial in self.trials)

    @property
    def first_text_seconds(self) -> float | None:
        return self._median(trial.first_text_seconds for trial in self.trials)

    @property
    def word_error_rate(self) -> float | None:
        return self._median(trial.word_error_rate for trial in self.trials)

    @property
    def memory(self) -> int | None:
        return max((trial.memory for trial in self.trials if trial.memory), default=None)

    @property
    def gpu_memory(self) -> int | None:
        return max((trial.gpu_memory for trial in self.trials if trial.gpu_memory), default=None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its workers said, each once; first of all, in what it computed where that is not what was chosen."""
        other = [
            f"computed in {trial.compute_type}"
            for trial in self.trials
            if trial.compute_type not in (None, self.choice.compute_type)
        ]
        return tuple(dict.fromkeys([*other, *(note for trial in self.trials for note in trial.notes)]))

    @staticmethod
    def _median(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None


@dataclass
class BenchReport:
    """Everything a bench leaves to be told."""

    run: RunReport
    input: str
    duration_seconds: float
    rounds: int
    language: str | None
    reference: str | None = None
    """The name of the file with what was said."""
    reference_words: int | None = None
    machine: Machine | None = None
    device: str | None = None
    standings: Sequence[Standing] = ()
    """Fastest first; after them those that were not measured."""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    picture: Path | None = None


def ranked(standings: Iterable[Standing]) -> list[Standing]:
    """Fastest first, those without a time last."""
    return sorted(standings, key=lambda standing: (standing.seconds is None, standing.seconds or 0.0))
