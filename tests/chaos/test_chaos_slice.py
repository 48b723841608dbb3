"""A seeded slice of every campaign for every day: what `make chaos` does at length, a few trials of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from . import baseline, builds, campaigns, census, codes, faulty, interrupted, killed, late, locks, report, servers
from .campaigns import Campaign
from .log import Log, Notes
from .schedules import Call, Census, Schedule, Strike
from .stage import Stage, staged

pytestmark = pytest.mark.slow

SEED = 7
DRAWN = 1000
"""From this index on schedules are drawn, from where the first thing is about to be made."""

CODES = ("InsufficientInstanceCapacity", "VcpuLimitExceeded", "UnauthorizedOperation")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("chaos") / "stage") as stage:
        yield stage


@pytest.fixture(scope="module")
def calls(stage: Stage) -> Census:
    return census.take(stage, runs=1)


@pytest.fixture(autouse=True)
def clean(stage: Stage) -> Iterator[None]:
    yield
    left = stage.look().everything
    stage.sweep()
    assert not left, f"the campaign did not tidy up after itself: {left}"


def _held(campaign: Campaign, stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    records = campaign.perform(stage, unit)
    wrong = [(r["violations"], r["replay"], r.get("stderr"), r["schedule"]) for r in records if r["violations"]]
    assert not wrong
    return records


def test_interrupted_anywhere_nothing_runs_at_its_exit(stage: Stage, calls: Census) -> None:
    drawn = [interrupted.schedule(SEED, DRAWN + k, calls) for k in range(5)]
    records = _held(interrupted, stage, drawn)
    assert sum(record["counted"] for record in records) >= 3


def test_killed_anywhere_it_ends_by_itself_and_one_reap_leaves_nothing(stage: Stage, calls: Census) -> None:
    launch = Strike(("KILL",), Call("ec2", "RunInstances", 0), "after")
    certain = Schedule(killed.KEY, SEED, 0, (launch,))
    drawn = [killed.schedule(SEED, DRAWN + k, calls) for k in range(3)]
    records = _held(killed, stage, [certain, *drawn])
    assert records[0]["counted"]
    # It was the watchdog's grace, and not the launch, that it lived for.
    assert 600 <= records[0]["orphan_seconds"] <= 660
    assert records[0]["orphan_cost"] > 0


@pytest.mark.parametrize("turn", range(len(locks.VARIANTS)), ids=[v.name.replace(" ", "-") for v in locks.VARIANTS])
def test_each_lock_holds_alone_and_leaks_without(turn: int, stage: Stage, calls: Census) -> None:
    (record,) = _held(locks, stage, [locks.schedule(SEED, turn, calls)])
    assert record["counted"]


def test_aws_at_its_worst(stage: Stage, calls: Census) -> None:
    trials = (
        ("ec2:RunInstances drop=after times=2",),
        ("ec2:TerminateInstances drop=after times=1", "ec2:ImportKeyPair drop=after times=1"),
        ("* error=ExpiredToken skip=22 times=4",),
    )
    records = _held(
        faulty, stage, [Schedule(faulty.KEY, SEED, index, faults=faults) for index, faults in enumerate(trials)]
    )
    assert all(record["counted"] for record in records)


def test_a_launch_that_lands_late_finds_no_key(stage: Stage, calls: Census) -> None:
    held = replace(late.schedule(SEED, 0, calls), market="on-demand")
    lost = late.schedule(SEED, 1, calls)
    records = _held(late, stage, [held, lost])
    assert all(record["counted"] for record in records)
    assert [record["landed"] for record in records] == [0, 0]


def test_a_build_that_is_killed_leaves_no_half_image(stage: Stage) -> None:
    strikes = [
        builds.at("CreateImage", 0, "before", 0),
        builds.at("CreateImage", 0, "after", 1),
    ]
    records = _held(builds, stage, strikes)
    assert all(record["counted"] for record in records)
    assert [record["half_image"] for record in records] == [False, True]


def test_a_server_whose_client_is_killed_ends_when_nobody_uses_it(stage: Stage) -> None:
    strikes = [
        servers.at("RunInstances", 0, "after", 0),
        servers.at("UpdateSchedule", 0, "response", 1),
        servers.at("TerminateInstances", 0, "before", 2),
    ]
    records = _held(servers, stage, strikes)
    assert all(record["counted"] for record in records)
    # The first two had only their watchdog's grace; the last was kept, and nobody used it.
    assert [record["orphan_seconds"] >= bound for record, bound in zip(records, (600, 300, 300), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("code", CODES)
def test_a_code_lands_in_its_class(code: str, stage: Stage, calls: Census) -> None:
    index = codes.points(SEED, calls).index(code)
    (record,) = _held(codes, stage, [codes.schedule(SEED, index, calls)])
    assert record["counted"]


def test_the_plain_client_leaks(stage: Stage) -> None:
    launch = Strike(("TERM",), Call("ec2", "RunInstances", 0), "response")
    (record,) = baseline.INTERRUPTED.perform(stage, [Schedule("B1", SEED, 0, (launch,))])
    assert record["counted"]
    assert record["leaked"]


def test_a_schedule_is_a_function_of_its_seed_and_survives_the_log(calls: Census) -> None:
    for key, plan in campaigns.PLANS.items():
        drawn = [plan.campaign.schedule(SEED, index, calls) for index in (0, 5, 1000)]
        assert drawn == [plan.campaign.schedule(SEED, index, calls) for index in (0, 5, 1000)]
        assert drawn == [Schedule.from_dict(schedule.as_dict()) for schedule in drawn]
        assert {schedule.campaign for schedule in drawn} == {key}
        points = plan.campaign.points(SEED, calls)
        assert len(points) == len(set(points))


def test_the_report_replaces_what_is_between_its_marks(tmp_path: Path, calls: Census) -> None:
    strike = Strike(("INT",), calls.calls[0], "before")
    schedule = Schedule("C1", SEED, 0, (strike,), point=str(strike))
    log = Log(tmp_path, "C1", SEED, fresh=True)
    log.add(
        {
            "index": 0,
            "counted": True,
            "why_not_counted": None,
            "violations": [],
            "schedule": schedule.as_dict(),
        }
    )
    notes = Notes(tmp_path, SEED, fresh=True)
    notes.keep_census("gputx", calls)
    notes.keep_campaign("C1", wall=90.0, workers=2, cores=2, date="2026-11-21")
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{report.BEGIN}\nstale figures\n{report.END}\nafter\n", encoding="utf-8")
    report.write(tmp_path, SEED, document)
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale figures" not in text
    assert f"1 of {12 * len(calls.calls)}" in text
    assert f"Seed {SEED}" in text
    document.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no"):
        report.write(tmp_path, SEED, document)
