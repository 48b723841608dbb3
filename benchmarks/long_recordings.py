"""Memory and time from a minute to twelve hours: does either grow with the recording?

    nice python benchmarks/long_recordings.py [--rounds 3] [--minutes 1 5 20 60 180 720] [--picture X.svg]

The recordings are the twenty held-out minutes over and over, with their pauses, written to build/long as 16 kHz FLAC,
750 MB for twelve hours. Of the short ones there are as many as make up the twenty minutes, so that every length is
measured over the same sound. Each is measured in two ways: the worker alone, fed as gputx feeds it and warm after ten
seconds of speech; and `gputx run --on local` with every output format, less what it takes for those ten seconds.
Rounds alternate, medians are compared, CPU seconds with one thread for each library (``OMP_NUM_THREADS=1``); lengths
of more than three hours are measured in the middle round only. Ends with 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import curves
import numpy as np
import soundfile
import watched

SOURCE = watched.ROOT / "examples" / "held-out" / "long20min.ogg"
KEPT = watched.ROOT / "build" / "long"
RATE = 16_000
BLOCK = 60 * RATE
WARM_UP_SECONDS = 10
HOUR = 3600
MB = 1e6
SAME_BATCH_SECONDS = 0.05
"""Of CPU time: the windows of a batch are told of one right after the other."""

# Issue 4, figure 5; "flat" is taken for no more than this much above the twenty minutes.
MEMORY_ABOVE, TIME_ABOVE = 300, 1.15
YARDSTICK = 20


@dataclass(frozen=True)
class Outcome:
    """One way over the recordings of one length, in one round."""

    start_up: float
    """CPU seconds until ten seconds of speech were transcribed."""
    cpu: float
    """CPU seconds for the recordings, beyond that."""
    audio: float
    """Seconds of sound."""
    words: int
    worker_peak: int
    client_peak: int = 0
    together: int = 0
    """Bytes: at most, of the worker, of gputx itself, and of both at one time."""
    batches: tuple[tuple[float, float, int], ...] = ()
    """Of the last recording, behind each batch of windows: seconds of it done, CPU seconds taken, bytes held then."""

    @property
    def an_hour(self) -> float:
        """CPU seconds for an hour of sound."""
        return self.cpu * HOUR / self.audio


def main() -> int:
    options = _arguments()
    environment = watched.quiet(KEPT / "cache")
    KEPT.mkdir(parents=True, exist_ok=True)
    warm_up = recording(WARM_UP_SECONDS, 0)
    results: dict[str, dict[int, list[Outcome]]] = {
        way: {minutes: [] for minutes in options.minutes} for way in ("worker", "gputx run")
    }
    for number in range(options.rounds):
        start_up = [start_of_a_run(warm_up, options.engine, environment) for _ in range(3)]
        for minutes in options.minutes:
            if minutes > 180 and number != options.rounds // 2:
                continue
            files = recordings(minutes)
            alone = by_worker(files, warm_up, options.engine, environment)
            whole = by_gputx(files, statistics.median(start_up), options.engine, environment)
            for way, outcome in (("worker", alone), ("gputx run", whole)):
                results[way][minutes].append(outcome)
                said = {**asdict(outcome), "batches": len(outcome.batches), "an_hour": outcome.an_hour}
                print(f"round {number + 1}: {minutes} min, {way} {json.dumps(said)}", file=sys.stderr, flush=True)
    print(table(results))
    if growth := within(results["worker"][max(options.minutes)]):
        print(f"\n{growth}")
    missed = misses(results)
    print("\n" + ("\n".join(missed) if missed else "Every figure is within its aim."))
    if options.json:
        plain = {way: {m: [asdict(o) for o in rows] for m, rows in by.items()} for way, by in results.items()}
        options.json.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    if options.picture:
        options.picture.write_text(drawn(results), encoding="utf-8")
    return 1 if missed else 0


def recordings(minutes: int) -> list[Path]:
    """The recordings of a length: consecutive stretches of the sound, at least twenty minutes of it in all."""
    return [recording(minutes * 60, start * 60) for start in range(0, max(YARDSTICK, minutes), minutes)]


def recording(seconds: int, first: int) -> Path:
    """A stretch of the endless repetition of the twenty minutes, beginning at its second ``first``."""
    path = KEPT / f"{seconds}s-from-{first}s.flac"
    if path.is_file() and soundfile.info(path).frames == seconds * RATE:
        return path
    sound, rate = soundfile.read(SOURCE, dtype="int16")
    if rate != RATE or sound.ndim != 1:
        raise ValueError(f"{SOURCE} is not at {RATE} Hz mono")
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        for start in range(first * RATE, (first + seconds) * RATE, BLOCK):
            stop = min(start + BLOCK, (first + seconds) * RATE)
            file.write(sound[np.arange(start, stop) % len(sound)])
    return path


def by_worker(files: Sequence[Path], warm_up: Path, engine: Sequence[str], environment: dict[str, str]) -> Outcome:
    """One worker that is given one recording after the other."""
    with watched.Worker(engine, environment) as worker:
        moments = worker.moments()
        worker.transcribe(warm_up)
        start_up = next(moment.cpu for moment in moments if moment.kind == "finished")
        cpu, audio, words, peak = 0.0, 0.0, 0, 0
        batches: list[tuple[float, float, int]] = []
        for path in files:
            before = worker.cpu()
            worker.transcribe(path)
            batches.clear()
            for moment in moments:
                match moment.kind:
                    case "segment":
                        words += len(moment.event["text"].split())
                    case "progress":
                        if batches and moment.cpu - before - batches[-1][1] < SAME_BATCH_SECONDS:
                            batches.pop()
                        now = watched.memory(worker.pid, "VmRSS")
                        batches.append((moment.event["done"], moment.cpu - before, now))
                    case "finished":
                        break
            cpu += moment.cpu - before
            audio += moment.event["duration"]
            peak = max(peak, moment.event["memory"])
    return Outcome(start_up, cpu, audio, words, peak, batches=tuple(batches))


def by_gputx(files: Sequence[Path], start_up: float, engine: Sequence[str], environment: dict[str, str]) -> Outcome:
    """The whole product: the recordings are prepared, transcribed and written in every format."""
    with tempfile.TemporaryDirectory(prefix="gputx-long-") as directory:
        used, report = _run(files, Path(directory), engine, environment)
        for file in report["files"]:
            _check(file, Path(directory))
    audio = sum(file["duration"] for file in report["files"])
    words = sum(len(file["text"].split()) for file in report["files"])
    return Outcome(start_up, used.cpu - start_up, audio, words, used.child_peak, used.own_peak, used.together)


def start_of_a_run(warm_up: Path, engine: Sequence[str], environment: dict[str, str]) -> float:
    """CPU seconds of `gputx run` over ten seconds of speech."""
    with tempfile.TemporaryDirectory(prefix="gputx-long-") as directory:
        return _run([warm_up], Path(directory), engine, environment)[0].cpu


def _run(
    files: Sequence[Path], directory: Path, engine: Sequence[str], environment: dict[str, str]
) -> tuple[watched.Usage, dict[str, Any]]:
    command = [sys.executable, "-m", "gputx", "run", *map(str, files), "--on", "local", "--model", str(watched.TINY)]
    command += [
        "--language",
        "sv",
        "--json",
        "--quiet",
        "--output-format",
        "all",
        "--output-dir",
        str(directory),
        *engine,
    ]
    used = watched.run(command, environment)
    report: dict[str, Any] = json.loads(used.output)
    return used, report


def _check(file: dict[str, Any], directory: Path) -> None:
    """What was written holds what was heard, up to the end of the recording.

    Raises:
        RuntimeError: it does not.
    """
    stem = Path(file["input"]).stem
    text = (directory / f"{stem}.txt").read_text(encoding="utf-8")
    ends = [segment["end"] for segment in file["segments"]]
    if text.split() != file["text"].split() or ends != sorted(ends) or ends[-1] > file["duration"]:
        raise RuntimeError(f"{stem}: the text that was written is not the one that was reported, or out of order")
    for path in directory.glob(f"{stem}.*"):
        if not path.stat().st_size:
            raise RuntimeError(f"{path.name} is empty")


def table(results: dict[str, dict[int, list[Outcome]]]) -> str:
    """Markdown: a row for each length."""
    heads = ["length", "worker, CPU s an hour", "gputx run, CPU s an hour", "of the 20 minutes"]
    heads += ["worker peak MB", "client peak MB", "both at once MB", "words an hour"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for minutes in results["worker"]:
        alone, whole = (results[way][minutes] for way in ("worker", "gputx run"))
        ratios = " / ".join(f"{ratio(results[way], minutes):.2f}" for way in results)
        cells = [named(minutes), f"{an_hour(alone):.1f}", f"{an_hour(whole):.1f}", ratios]
        cells += [f"{peak(alone, 'worker_peak'):.0f}", f"{peak(whole, 'client_peak'):.0f}"]
        cells += [f"{peak(whole, 'together'):.0f}", f"{alone[0].words * HOUR / alone[0].audio:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    start_ups = [statistics.median(o.start_up for rows in by.values() for o in rows) for by in results.values()]
    lines.append(
        f"\nStart and the first ten seconds: {start_ups[0]:.2f} CPU s the worker, {start_ups[1]:.2f} gputx run."
    )
    return "\n".join(lines)


def an_hour(rows: Sequence[Outcome]) -> float:
    return statistics.median(row.an_hour for row in rows)


def peak(rows: Sequence[Outcome], which: str) -> float:
    """MB, the most of all rounds."""
    return max(float(getattr(row, which)) for row in rows) / MB


def ratio(by_length: dict[int, list[Outcome]], minutes: int) -> float:
    return an_hour(by_length[minutes]) / an_hour(by_length[_yardstick(by_length)])


def _yardstick(by_length: dict[int, Any]) -> int:
    return YARDSTICK if YARDSTICK in by_length else min(by_length)


def within(rows: Sequence[Outcome]) -> str:
    """The hours of the longest recording one by one: CPU seconds, and memory at the end of each.

    The first has the detection of speech in 16 minutes that are read ahead, the last is spared them.
    """
    done, cpu, held = zip(*rows[0].batches, strict=True)
    marks = np.arange(0, rows[0].audio + 1, HOUR)
    if len(marks) < 3:
        return ""
    took = np.diff(np.interp(marks, (0.0, *done), (0.0, *cpu)))
    sizes = np.interp(marks[1:], done, held) / MB
    return "\n".join(
        [
            "Hour by hour of the longest, worker: CPU s " + " ".join(f"{seconds:.1f}" for seconds in took),
            "MB at the end of each: " + " ".join(f"{size:.0f}" for size in sizes),
        ]
    )


def misses(results: dict[str, dict[int, list[Outcome]]]) -> list[str]:
    """One line for each figure that is outside its aim."""
    lines = []
    for way, by_length in results.items():
        base = _yardstick(by_length)
        for minutes, rows in by_length.items():
            if (times := ratio(by_length, minutes)) > TIME_ABOVE:
                lines.append(f"MISSED {way}, {named(minutes)}: {times:.2f} times the CPU seconds of {named(base)}")
            which = "worker_peak" if way == "worker" else "together"
            if (above := peak(rows, which) - peak(by_length[base], which)) > MEMORY_ABOVE:
                lines.append(f"MISSED {way}, {named(minutes)}: {above:.0f} MB more than {named(base)}")
    return lines


def drawn(results: dict[str, dict[int, list[Outcome]]]) -> str:
    """The two curves that must be flat."""
    lengths = list(results["worker"])
    memory = {
        "gputx and its worker together": [(m, peak(results["gputx run"][m], "together")) for m in lengths],
        "worker alone": [(m, peak(results["worker"][m], "worker_peak")) for m in lengths],
    }
    limit = peak(results["gputx run"][_yardstick(results["worker"])], "together") + MEMORY_ABOVE
    panels = [
        curves.Panel(
            "CPU seconds for an hour of audio",
            {way: [(m, an_hour(results[way][m])) for m in lengths] for way in ("gputx run", "worker")},
        ),
        curves.Panel("peak memory, MB", memory, {f"20 minutes + {MEMORY_ABOVE} MB": limit}),
    ]
    below = "length of the recording · tiny Swedish model, vad, CTranslate2 int8 · benchmarks/long_recordings.py"
    return curves.picture("From a minute to twelve hours", below, panels, {m: named(m) for m in lengths})


def named(minutes: int) -> str:
    return f"{minutes} min" if minutes < 60 else f"{minutes / 60:g} h"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 5, 20, 60, 180, 720], help="lengths")
    parser.add_argument("--engine", type=str.split, default=[], help='for both, as in "--decoder torch"')
    parser.add_argument("--json", type=Path, help="write every measurement to this file as well")
    parser.add_argument("--picture", type=Path, help="draw the curves into this SVG file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
