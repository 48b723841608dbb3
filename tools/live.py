"""Acceptance on a real account, for a person who has one: build the image, transcribe, reap, and a receipt.

    make live LIVE='--budget 3.00 --yes'                 with the credentials of your AWS profile, in its region
    python tools/live.py --budget 3.00 --on sandbox      a rehearsal that costs nothing

It runs the commands that a person would, one after the other, each with what is left of the budget as its --max-cost,
and in the end asks `gputx reap` that nothing is left, whatever happened before. `gputx setup` comes first, by hand: it
is about a whole account and asks. Exit status 0: every step did what it should. It is never run by CI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "examples" / "intervju.mp3"
REPORT = ROOT / "build" / "live.json"
LEAST = 0.05
"""USD without which a step is not begun: a GPU instance is billed for a minute at least."""


@dataclass
class Step:
    """``cost`` in USD, ``seconds`` of the wall clock; ``seen`` in a few words, ``wrong`` empty where nothing is."""

    name: str
    seconds: float
    cost: float
    seen: str
    wrong: str


def main() -> int:
    """Run the steps, print the table; return the exit status."""
    options = parser().parse_args()
    if options.on == "aws" and not options.yes:
        print(
            f"this launches instances in your account, for up to {options.budget:.2f} USD: add --yes", file=sys.stderr
        )
        return 2
    acceptance = Acceptance(options)
    try:
        acceptance.play()
    finally:
        acceptance.step("reap", acceptance.reap)
        acceptance.tell()
    return 1 if any(step.wrong for step in acceptance.steps) else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Build, run and reap on a real account, within a budget.")
    made.add_argument("--budget", type=float, required=True, metavar="USD", help="never more than this, all together")
    made.add_argument("--on", default="aws", choices=["aws", "sandbox"])
    made.add_argument("--yes", action="store_true", help="launch instances, and pay for them")
    made.add_argument("--recording", type=Path, default=RECORDING, help="its text beside it: NAME.reference.txt")
    made.add_argument("--worst", type=float, default=30.0, metavar="PERCENT", help="the highest word error rate")
    made.add_argument("options", nargs="*", help="further options of every command, behind --: -- --region eu-west-1")
    return made


class WrongError(Exception):
    """A step did not do what it should."""


class Acceptance:
    """The steps so far, and what they have cost."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.steps: list[Step] = []
        self._cost = 0.0

    def play(self) -> None:
        """Doctor, build, run; a step that fails ends it."""
        for name, work in (("doctor", self.doctor), ("build-ami", self.build), ("run", self.run)):
            if not self.step(name, work):
                return

    def step(self, name: str, work: Any) -> bool:
        began, before, seen, wrong = time.monotonic(), self._cost, "", ""
        try:
            seen = work()
        except WrongError as error:
            wrong = str(error)
        self.steps.append(Step(name, time.monotonic() - began, self._cost - before, seen, wrong))
        return not wrong

    def doctor(self) -> str:
        """Everything but the image has to be well: it is what is built next."""
        checks = self._gputx("doctor", codes=None)["checks"]
        failed = [check["name"] for check in checks if check["verdict"] == "failed" and check["name"] != "image"]
        if failed:
            raise WrongError(f"not well: {', '.join(failed)}; gputx doctor says what to do")
        return f"{len(checks)} checks"

    def build(self) -> str:
        document = self._gputx("build-ami", "--force", *self._capped())
        self._cost += document["cost"] or 0.0
        passed = sum(check["fate"] == "passed" for check in document["checks"])
        if not document["image"]:
            raise WrongError("no image")
        return f"{document['image']}: {passed} checks passed"

    def run(self) -> str:
        recording = self._options.recording
        document = self._gputx("run", str(recording), "--output-dir", str(REPORT.parent / "live"), *self._capped())
        self._cost += document["run"]["cost"]["total"] or 0.0
        text = document["files"][0]["text"]
        reference = recording.with_name(f"{recording.stem}.reference.txt").read_text(encoding="utf-8")
        rate = 100 * jiwer.wer(_words(reference), _words(text))
        if rate > self._options.worst:
            raise WrongError(f"word error rate {rate:.1f} %")
        run = document["run"]
        return f"word error rate {rate:.1f} %, {run['device']}, {run['market']} in {run['zone']}"

    def reap(self) -> str:
        """What the account and the journal have left, after it was ended."""
        self._gputx("reap", "--yes", codes=(0, 1))
        document = self._gputx("reap", "--dry-run", codes=None)
        left = [thing for thing in document["things"] if thing["verdict"] in {"would end", "not ended"}]
        left += [entry for entry in document["journal"] if not entry["ended"]]
        if left:
            raise WrongError(f"{len(left)} things are left: gputx reap")
        return "nothing is left"

    def tell(self) -> None:
        """The table and the receipt on stdout; all of it in build/live.json."""
        for step in self.steps:
            print(f"{step.name:10} {step.seconds:7.1f} s  ${step.cost:.4f}  {step.wrong or step.seen}")
        print(f"{'in all':10} {sum(step.seconds for step in self.steps):7.1f} s  ${self._cost:.4f}")
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps([asdict(step) for step in self.steps], indent=2) + "\n", encoding="utf-8")

    def _capped(self) -> list[str]:
        left = self._options.budget - self._cost
        if left < LEAST:
            raise WrongError(f"{left:.2f} USD are left of the budget")
        return ["--max-cost", f"{left:.2f}"]

    def _gputx(self, command: str, *arguments: str, codes: tuple[int, ...] | None = (0,)) -> dict[str, Any]:
        """What a command answers with --json; its stderr is a person's to see."""
        words = [sys.executable, "-m", "gputx", command, *arguments, "--on", self._options.on, "--json"]
        done = subprocess.run([*words, *self._options.options], stdout=subprocess.PIPE, text=True, check=False)
        if codes is not None and done.returncode not in codes:
            raise WrongError(f"gputx {command} ended with {done.returncode}")
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise WrongError(f"gputx {command} answered with no document (exit code {done.returncode})") from error
        return document


def _words(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


if __name__ == "__main__":
    sys.exit(main())
