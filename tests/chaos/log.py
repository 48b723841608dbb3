"""What the trials came to, on disk: a JSON line for each, from which a campaign goes on and the report is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .schedules import Census

BUILD = Path(__file__).parents[2] / "build" / "chaos"


class Log:
    """One campaign with one seed.

    Attributes:
        records: by index, the newest of each.
    """

    def __init__(self, directory: Path, key: str, seed: int, *, fresh: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"{key}-{seed}.jsonl"
        if fresh:
            self._file.unlink(missing_ok=True)
        self.records = {record["index"]: record for record in _lines(self._file)}

    def add(self, record: dict[str, Any]) -> None:
        self.records[record["index"]] = record
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    @property
    def counted(self) -> int:
        return sum(record["counted"] for record in self.records.values())

    @property
    def hit(self) -> set[str]:
        """The points that were struck, whether or not anything existed then."""
        return {
            record["schedule"]["point"]
            for record in self.records.values()
            if record["counted"] or record["why_not_counted"] == "nothing existed yet"
        } - {""}

    @property
    def violations(self) -> list[dict[str, Any]]:
        return [record for record in self.records.values() if record["violations"]]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            # The last one may have been cut off by whatever ended the campaign.
            if line.endswith("}"):
                yield json.loads(line)


class Notes:
    """What belongs to a seed as a whole: the censuses, and how long each campaign has taken."""

    def __init__(self, directory: Path, seed: int, *, fresh: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"notes-{seed}.json"
        self._kept: dict[str, Any] = {"census": {}, "campaigns": {}}
        if not fresh and self._file.exists():
            self._kept = json.loads(self._file.read_text(encoding="utf-8"))

    def census(self, kind: str) -> Census | None:
        kept = self._kept["census"].get(kind)
        return Census.from_dict(kept) if kept else None

    def keep_census(self, kind: str, census: Census) -> None:
        self._kept["census"][kind] = census.as_dict()
        self._write()

    def campaign(self, key: str) -> dict[str, Any]:
        """Its ``wall`` seconds, ``workers`` and ``date``; empty where it has not been run."""
        kept: dict[str, Any] = self._kept["campaigns"].get(key, {})
        return kept

    def keep_campaign(self, key: str, **figures: Any) -> None:
        self._kept["campaigns"][key] = figures
        self._write()

    def _write(self) -> None:
        self._file.write_text(json.dumps(self._kept, indent=1), encoding="utf-8")
