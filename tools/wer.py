"""Word error rates of `gputx run` in several places, side by side.

    python tools/wer.py --on local --on sandbox                     the 12 held-out clips and the 3 minutes
    python tools/wer.py --on local --on sandbox --long              and the 20 minutes
    python tools/wer.py --on local examples/held-out/clip0*.flac

The exit status is 1 if any file was not transcribed, or if its rates lie more than 2 points apart.
Words are compared in lower case, without punctuation.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ROOT / "examples" / "held-out"
TINY = ROOT / "gputx" / "sandbox" / "tiny_sv"
LONG = HELD_OUT / "long20min.ogg"
POINTS = 2.0

Rates = dict[Path, float | None]
"""Word error rate per file in percent; None where there is no transcript."""


def main() -> int:
    """Print the table; return the exit status."""
    options = parser().parse_args()
    files = options.files or sorted([*HELD_OUT.glob("*.flac"), *([LONG] if options.long else [])])
    references = {file: reference(file) for file in files}
    rates = {place: measure(place, options.model, references) for place in options.on}
    print(table(references, rates))
    apart = [file for file in files if not close([rates[place][file] for place in rates])]
    for file in apart:
        print(f"{file.name}: no transcript, or rates more than {POINTS:g} points apart", file=sys.stderr)
    return 1 if apart else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Word error rates of `gputx run` in several places, side by side.")
    made.add_argument("--on", action="append", required=True, metavar="PLACE", help="as for `gputx run`; repeatable")
    made.add_argument("--model", default=str(TINY), help="for every place but the sandbox; default: its model")
    made.add_argument("--long", action="store_true", help="the 20-minute recording too")
    made.add_argument("files", nargs="*", type=Path, metavar="FILE", help="recordings with a reference beside them")
    return made


def reference(file: Path) -> str:
    """What is said in a recording: FILE.reference.txt, FILE.json or a row of clips.tsv beside it.

    Raises:
        SystemExit: there is none of these.
    """
    plain, document, clips = (
        file.with_suffix(".reference.txt"),
        file.with_suffix(".json"),
        file.with_name("clips.tsv"),
    )
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    if document.exists():
        return str(json.loads(document.read_text(encoding="utf-8"))["text"])
    if clips.exists():
        with clips.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                if row["file"] == file.name:
                    return row["text"]
    raise SystemExit(f"error: no reference text beside {file}")


def measure(place: str, model: str, references: dict[Path, str]) -> Rates:
    """Transcribe all files in one place, in one call."""
    heard = {Path(entry["input"]).name: entry for entry in transcribe(place, model, list(references))}
    rates: Rates = {}
    for file, text in references.items():
        entry = heard.get(file.name, {"error": "not in the output"})
        rates[file] = None if entry.get("error") else wer(text, entry["text"])
    return rates


def transcribe(place: str, model: str, files: Sequence[Path]) -> list[dict[str, Any]]:
    """The ``files`` of the document that ``gputx run --json`` prints."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gputx", "run", "--on", place, "--json", "--quiet", "-o", folder]
        if place != "sandbox":  # its image carries the tiny model
            command += ["--model", model]
        done = subprocess.run([*command, *map(str, files)], stdout=subprocess.PIPE, check=False)
    try:
        return list(json.loads(done.stdout)["files"])
    except (ValueError, KeyError):
        raise SystemExit(f"error: `gputx run --on {place}` ended with {done.returncode} and no document") from None


def wer(reference_text: str, hypothesis: str) -> float:
    """Word error rate in percent."""
    return 100 * float(jiwer.wer(normalised(reference_text), normalised(hypothesis)))


def normalised(text: str) -> str:
    """Lower case, no punctuation, single spaces."""
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def close(rates: Sequence[float | None]) -> bool:
    """Whether all files have a rate, and the rates are near each other."""
    known = [rate for rate in rates if rate is not None]
    return len(known) == len(rates) and max(known) - min(known) <= POINTS


def table(references: dict[Path, str], rates: dict[str, Rates]) -> str:
    """One row a file: words, the rate in each place, and the difference of the extremes."""
    header = f"{'file':<18}{'words':>7}" + "".join(f"{place[:11]:>12}" for place in rates) + f"{'apart':>9}"
    rows = [header, "-" * len(header)]
    for file, text in references.items():
        found = [rates[place][file] for place in rates]
        known = [rate for rate in found if rate is not None]
        cells = "".join(f"{'–':>12}" if rate is None else f"{rate:>10.1f} %" for rate in found)
        apart = f"{max(known) - min(known):>9.1f}" if known else f"{'–':>9}"
        rows.append(f"{file.name:<18}{len(normalised(text).split()):>7}{cells}{apart}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
