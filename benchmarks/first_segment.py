"""From the start of the worker's process to its first segment, decoder by decoder, on a warm cache.

    python benchmarks/first_segment.py [--rounds 5] [--contestants "chunked,vad ctranslate2 int8"]
    python benchmarks/first_segment.py --size small --until ready

The worker is started as gputx starts it and asked at once, so that imports, the model's loading, reading the audio,
finding speech and decoding are all in it; it is ended once it has said its first segment. The model is named by its
id and lies in a cache of the hub. One round before the first compiles, converts and fills the page cache. Rounds
alternate; medians, wall and CPU seconds with one thread for each library (``OMP_NUM_THREADS=1``): the worker goes on
reading and finding speech in a second thread meanwhile, which CPU seconds count as well.

With ``--size`` the model has the shape of a real one and random weights (benchmarks/models.py), which never stop
writing: the first window would cost the most that a window can, hence ``--until ready``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
import watched

HELD_OUT = watched.ROOT / "examples" / "held-out"
CONTESTANTS = {
    "chunked": ["--algorithm", "chunked"],
    "sequential": ["--algorithm", "sequential"],
    **{
        f"vad {decoder} {kind}": ["--algorithm", "vad", "--decoder", decoder, "--compute-type", kind]
        for decoder, kinds in {
            "transformers": ("float32", "bfloat16"),
            "torch": ("float32", "bfloat16", "int8"),
            "ctranslate2": ("float32", "int8"),
        }.items()
        for kind in kinds
    },
}
IMPORTS = {
    "nothing": "pass",
    "the stock pipeline": "from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline",
    "torch": "import torch",
    "CTranslate2": "import ctranslate2",
    "onnxruntime": "import onnxruntime",
}
STAGES = ("hello", "ready", "started", "segment")
"""What is said on the way: the process is up, the model is loaded, the recording is opened, the first text."""

Row = dict[str, dict[str, tuple[float, float]]]
"""By recording and stage: (wall, CPU) seconds since the process was started."""


def main() -> int:
    options = _arguments()
    cache = options.models / "first-segment"
    environment = watched.quiet(cache)
    model = watched.as_downloaded(models.path(options.models, options.size) if options.size else watched.TINY, cache)
    # Random weights are doubtful at every temperature.
    asked: dict[str, Any] = {"temperatures": [0.0]} if options.size else {}
    results: dict[str, list[Row]] = {name: [] for name in options.contestants}
    imports: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPORTS}
    for number in range(options.rounds + 1):
        for name, code in IMPORTS.items():
            took = watched.run([sys.executable, "-P", "-c", code], environment)
            if number:
                imports[name].append((took.wall, took.cpu))
        for name in options.contestants:
            engine = CONTESTANTS[name]
            row = {
                path.stem: measure(path, engine, environment, model, asked=asked, until=options.until)
                for path in options.audio
            }
            print(f"round {number}: {name} {json.dumps(row)}", file=sys.stderr, flush=True)
            if number:
                results[name].append(row)
    print(table(results, [path.stem for path in options.audio], options.until), import_table(imports), sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps({"workers": results, "imports": imports}, indent=1), encoding="utf-8")
    return 0


def measure(
    path: Path, engine: Sequence[str], environment: dict[str, str], model: str, *, asked: dict[str, Any], until: str
) -> dict[str, tuple[float, float]]:
    """(wall, CPU) seconds to each stage of a fresh worker up to ``until``.

    Raises:
        RuntimeError: the worker failed, or found no text.
    """
    reached: dict[str, tuple[float, float]] = {}
    with watched.Worker([*engine, "--device", "cpu"], environment, model=model) as worker:
        worker.transcribe(path, **asked)
        for moment in worker.moments():
            stage = str(moment.event["state"]) if moment.kind == "model" else moment.kind
            if stage in STAGES:
                reached[stage] = round(moment.wall, 4), round(moment.cpu, 4)
            if stage == until:
                return reached
            if stage == "finished":
                break
    raise RuntimeError(f"{' '.join(engine)}: no text in {path}")


def table(results: dict[str, list[Row]], recordings: Sequence[str], until: str) -> str:
    """Markdown: a row for each contestant; the stages before the recording matters, then the first segment of each."""
    columns = [("hello", recordings[0], "hello"), ("model ready", recordings[0], "ready")]
    if until == "segment":
        columns += [(f"first segment, {name}", name, until) for name in recordings]
    lines = [
        "| wall / CPU s to | " + " | ".join(head for head, _, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, rows in results.items():
        cells = [name]
        for _, recording, stage in columns:
            wall, cpu = (statistics.median(row[recording][stage][i] for row in rows) for i in (0, 1))
            cells.append(f"{wall:.2f} / {cpu:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def import_table(imports: dict[str, list[tuple[float, float]]]) -> str:
    """Markdown: Python with one import and nothing else."""
    lines = ["| Python importing | wall s | CPU s |", "|---|---|---|"]
    for name, took in imports.items():
        wall, cpu = (statistics.median(row[i] for row in took) for i in (0, 1))
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="after one that is not counted")
    parser.add_argument("--size", choices=models.SHAPES, help="random weights of this shape, not the tiny model")
    parser.add_argument("--until", choices=STAGES, default="segment", help="the stage at which a worker is ended")
    parser.add_argument("--models", type=Path, default=watched.ROOT / "build" / "benchmarks")
    parser.add_argument("--audio", nargs="+", type=Path, default=[HELD_OUT / "clip01.flac", HELD_OUT / "long3min.flac"])
    parser.add_argument("--contestants", type=_listed, default=list(CONTESTANTS), help="separated by commas")
    parser.add_argument("--json", type=Path, help="write every measurement to this file as well")
    options = parser.parse_args()
    if unknown := set(options.contestants) - set(CONTESTANTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    if options.rounds < 1:
        parser.error("one round at least")
    return options


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
