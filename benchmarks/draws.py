"""What a window costs CTranslate2 that is drawn at a temperature, on a CPU: CPU seconds and memory.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/draws.py [--compute-type int8] [--rounds 3]

The model has whisper-small's shape and random weights (benchmarks/models.py); every window gets 96 tokens. Each drawn
window is drawn by a text decoder loaded for it (docs/engine.md); what loading the whole model would cost stands beside.
Figures are medians; memory is what the process has grown by once the model is loaded.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ctranslate2
import models
import numpy as np

from gputx_remote.decoders import ctranslate2_conversion as conversion
from gputx_remote.decoders import ctranslate2_decoder
from gputx_remote.decoders.ctranslate2_format import Part
from gputx_remote.decoders.decoder import Request
from gputx_remote.weights import ModelLocation

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 30 * 16_000
TOGETHER = 4
TOKENS = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--compute-type", choices=("int8", "float32"), default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    location = ModelLocation(models.path(arguments.models, "small"), "random-small", "1")
    cache = arguments.models / "ctranslate2"

    def load(part: Part) -> ctranslate2.models.Whisper:
        files = str(conversion.ready(location, cache, print, part).path)
        return ctranslate2.models.Whisper(files, compute_type=arguments.compute_type, intra_threads=1)

    decoder = ctranslate2_decoder.load(
        location, device="cpu", compute_type=arguments.compute_type, note=print, cache_directory=cache
    )
    noise = np.random.default_rng(0).normal(0, 0.1, (TOGETHER, WINDOW)).astype(np.float32)
    encoded = decoder.encode(list(noise))
    alone = decoder.select(encoded, [0])
    greedy = Request(decoder.vocabulary.prompt("sv", "transcribe"), max_tokens=TOKENS)
    drawn = [replace(greedy, temperature=0.4, seed=row) for row in range(TOGETHER)]
    text: Part = "text-int8" if arguments.compute_type == "int8" else "text"
    works: dict[str, Callable[[], object]] = {
        "load the whole model": lambda: load("whole"),
        "load its text decoder": lambda: load(text),
        "decode one window": lambda: decoder.decode(alone, [greedy]),
        "draw one window": lambda: decoder.decode(alone, drawn[:1]),
        f"decode {TOGETHER} windows": lambda: decoder.decode(encoded, [greedy] * TOGETHER),
        f"draw {TOGETHER} windows": lambda: decoder.decode(encoded, drawn),
    }
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    grown: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.rounds):
        for name, work in works.items():
            before, start = _resident(), time.process_time()
            made = work()
            seconds[name].append(time.process_time() - start)
            grown[name].append(_resident() - before)
            del made
    for name, values in seconds.items():
        growth = f"{statistics.median(grown[name]):6.0f} MB" if name.startswith("load") else ""
        print(f"{name:24s} {statistics.median(values):6.2f} s {growth}")


def _resident() -> float:
    """MB of memory that this process holds, without what it has freed."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3


if __name__ == "__main__":
    main()
