"""Word error rate and errors of times, for every condition of the sound and every contestant.

    python benchmarks/accuracy.py [--quick] [--variants clean,music] [--contestants "vad ctranslate2,sequential"]

``held-out`` is the 20-minute file of examples/held-out (3 minutes with --quick). The other speech is made anew from a
seed (needs libespeak-ng), 20 minutes of it, or 3 with --quick. What a contestant wrote
is kept under build/accuracy and not computed again while neither the sound nor the code of this repository that made
it has changed, so that a run can be broken off and continued. Ends with 1 where the engine misses its aim.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import contestants
import numpy as np
import numpy.typing as npt
import scoring
from material import variants
from material.recording import Recording, Sentence

from gputx_remote import audio
from gputx_remote.transcript import Segment, Word

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "accuracy"
FILES = ROOT / "examples" / "held-out"
HELD_OUT = "held-out"
NAMES = (HELD_OUT, *variants.NAMES)

# Issue 4, figures 2 and 3.
WER_ABOVE_YARDSTICK = 0.5
MEDIAN_START, WORST_START, MEDIAN_WORD = 0.2, 1.0, 0.3

STOCK_CODE = ("decoders/transformers_model.py", "transcript.py")
CODE = {
    "chunked": ("engine/reference.py", *STOCK_CODE),
    "sequential": ("engine/sequential.py", *STOCK_CODE),
}
VAD_CODE = ("engine/*.py", "decoders/*.py", "speech/*.py", "*[!_].py")
"""What a contestant's text depends on, under remote/gputx_remote."""


def main() -> int:
    options = _arguments()
    results = []
    for variant in options.variants:
        recording = _recording(variant, options)
        for name in options.contestants:
            segments, seconds = heard(recording, name, words=options.words, again=options.again)
            score = scoring.score(recording, segments)
            results.append({"variant": variant, "contestant": name, "score": score, "cpu_seconds": seconds})
            print(f"{variant}, {name}: {score.wer:.2f} %", file=sys.stderr, flush=True)
    for title, cell in TABLES.items():
        if options.words or "word" not in title:
            print(f"\n{title}\n\n{table(results, options.variants, options.contestants, cell)}")
    missed = misses(results)
    print("\n" + ("\n".join(missed) if missed else "Every figure of the engine is within its aim."))
    if options.json:
        options.json.write_text(json.dumps([_plain(result) for result in results], indent=1), encoding="utf-8")
    return 1 if missed else 0


def _recording(variant: str, options: argparse.Namespace) -> Recording:
    if variant != HELD_OUT:
        return variants.make(variant, options.minutes * 60, options.seed)
    sound = FILES / ("long3min.flac" if options.quick else "long20min.ogg")
    told = json.loads(sound.with_suffix(".json").read_text(encoding="utf-8"))
    sentences = (Sentence(round(s["start"] * 1000), round(s["end"] * 1000), s["text"], ()) for s in told["segments"])
    return Recording(audio.read(sound), tuple(sentences))


def heard(recording: Recording, name: str, *, words: bool, again: bool = False) -> tuple[list[Segment], float]:
    """(segments, CPU seconds it took), from build/accuracy where they are known."""
    path = KEPT / f"{_digest(recording.samples, name, words)}.json"
    if path.is_file() and not again:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [_segment(*fields) for fields in kept["segments"]], float(kept["cpu_seconds"])
    contestants.transcribe(recording.samples[:16_000], name)  # loading is not what is timed
    begun = time.process_time()
    segments = contestants.transcribe(recording.samples, name, words=words)
    seconds = time.process_time() - begun
    kept = {
        "contestant": name,
        "cpu_seconds": seconds,
        "segments": [
            [s.start_ms, s.end_ms, s.text, [[w.start_ms, w.end_ms, w.text, w.probability] for w in s.words]]
            for s in segments
        ],
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    unfinished.rename(path)
    return segments, seconds


def _segment(start_ms: int, end_ms: int, text: str, words: Sequence[Sequence[Any]]) -> Segment:
    return Segment(start_ms, end_ms, text, tuple(Word(*word) for word in words))


def _digest(samples: npt.NDArray[np.float32], name: str, words: bool) -> str:
    """Of all that the text depends on: the sound, the contestant, and the code that makes it."""
    digest = hashlib.sha256(samples.tobytes())
    digest.update(f"{name} {words}".encode())
    for pattern in CODE.get(name, VAD_CODE) if name in contestants.OURS else ():
        for source in sorted((ROOT / "remote" / "gputx_remote").glob(pattern)):
            digest.update(source.read_bytes())
    if name not in contestants.OURS:
        digest.update(Path(__file__).with_name("peers.py").read_bytes())
    return digest.hexdigest()[:32]


def _wer(score: scoring.Score) -> str:
    return f"{score.wer:.1f}"


def _kinds(score: scoring.Score) -> str:
    return f"{score.substitutions} {score.deletions} {score.insertions}"


def _starts(score: scoring.Score) -> str:
    if score.median_start is None or score.worst_start is None:
        return "–"
    return f"{score.median_start:.2f} / {score.worst_start:.2f}"


def _words(score: scoring.Score) -> str:
    return "–" if score.median_word is None else f"{score.median_word:.2f}"


TABLES = {
    "Word error rate, %": _wer,
    "Words wrong, left out, added": _kinds,
    "Error of segment starts in s, median / worst": _starts,
    "Error of word starts in s, median": _words,
}


def table(results: Sequence[dict[str, Any]], rows: Sequence[str], columns: Sequence[str], cell: Any) -> str:
    """Markdown: a row for each variant, a column for each contestant."""
    known = {(result["variant"], result["contestant"]): result["score"] for result in results}
    lines = ["| " + " | ".join(["", *columns]) + " |", "|" + "---|" * (len(columns) + 1)]
    lines += ["| " + " | ".join([row, *(cell(known[row, column]) for column in columns)]) + " |" for row in rows]
    return "\n".join(lines)


def misses(results: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each figure of the `vad` engine that is outside its aim."""
    yardstick = {r["variant"]: r["score"].wer for r in results if r["contestant"] == contestants.YARDSTICK}
    lines = []
    for result in results:
        score, variant, name = result["score"], result["variant"], result["contestant"]
        if not name.startswith("vad"):
            continue
        where = f"MISSED {variant}, {name}:"
        if variant in yardstick and score.wer > yardstick[variant] + WER_ABOVE_YARDSTICK:
            lines.append(f"{where} WER {score.wer:.1f} %, {contestants.YARDSTICK} {yardstick[variant]:.1f} %")
        if score.median_start is not None and score.median_start > MEDIAN_START:
            lines.append(f"{where} segment starts off by {score.median_start:.2f} s in the median")
        if score.worst_start is not None and score.worst_start > WORST_START:
            lines.append(f"{where} a segment starts {score.worst_start:.2f} s off")
        if score.median_word is not None and score.median_word > MEDIAN_WORD:
            lines.append(f"{where} word starts off by {score.median_word:.2f} s in the median")
    return lines


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "score": {**asdict(result["score"]), "wer": result["score"].wer}}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 minutes of each instead of 20")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1, help="of the speech")
    parser.add_argument("--variants", type=_listed, default=list(NAMES), help="separated by commas")
    parser.add_argument("--contestants", type=_listed, default=list(contestants.names()), help="separated by commas")
    parser.add_argument("--words", action="store_true", help="ask for word times, and measure them")
    parser.add_argument("--again", action="store_true", help="compute what is known, too")
    parser.add_argument("--json", type=Path, help="write everything to this file as well")
    options = parser.parse_args()
    options.minutes = options.minutes or (3.0 if options.quick else 20.0)
    for given, known in ((options.variants, NAMES), (options.contestants, contestants.names())):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
