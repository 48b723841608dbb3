"""``python -m tests.chaos``: run the campaigns, go on with them, or play one trial again. See README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from . import drive, report
from .campaigns import PLANS, take_census
from .log import BUILD, Log, Notes
from .schedules import Schedule
from .stage import staged

SEED = 20261121
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 where everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"of {', '.join(PLANS)}; all by default")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--trials", type=int, help="count so many in each, instead of its own number")
    parser.add_argument("--sample", type=int, help="play only so many trials of each: a quick look, no campaign")
    parser.add_argument("--workers", type=int, default=2, help="sandboxes side by side")
    parser.add_argument("--resume", action="store_true", help="go on with what is on record for this seed")
    parser.add_argument("--replay", metavar="CAMPAIGN:SEED:INDEX", help="play one trial again, and show its record")
    parser.add_argument("--report", action="store_true", help=f"write the table into {report.DOCUMENT.name}")
    parser.add_argument("--build", type=Path, default=BUILD, help="where the records are kept")
    options = parser.parse_args(arguments)
    if options.replay:
        return _replay(options.replay, options.build)
    unknown = [key for key in options.campaigns if key not in PLANS]
    if unknown:
        parser.error(f"there is no campaign {', '.join(unknown)}")
    try:
        held = _run(options)
    except drive.InterruptedCampaignError:
        return _INTERRUPTED
    print(report.table(options.build, options.seed))
    if options.report:
        report.write(options.build, options.seed)
    return 0 if held else 1


def _run(options: argparse.Namespace) -> bool:
    """Whether everything held."""
    notes = Notes(options.build, options.seed, fresh=not options.resume and not options.campaigns)
    counted: set[str] = set()
    held = True
    with drive.crew(options.workers) as pool:
        for key in options.campaigns or PLANS:
            log = Log(options.build, key, options.seed, fresh=not options.resume)
            client = PLANS[key].client
            # What a run calls changes with the code, so a list is kept only for going on with what was begun.
            census = drive.census_of(pool, notes, client, fresh=not options.resume and client not in counted)
            counted.add(client)
            goal = drive.goal_of(key, options.seed, census, log, trials=options.trials, sample=options.sample)
            if not goal.done:
                drive.run(pool, goal, notes, workers=options.workers)
            missed = goal.missed if options.sample is None else []
            for point in missed:
                print(f"{key}: not hit: {point}", file=sys.stderr)
            held = held and goal.done and not log.violations and not missed
            if PLANS[key].plain and not any(record["leaked"] for record in log.records.values()):
                print(f"{key}: the plain client leaked nothing, so this harness is blind", file=sys.stderr)
                held = False
    return held


def _replay(name: str, build: Path) -> int:
    key, seed, index = name.split(":")
    plan = PLANS[key]
    on_record = Log(build, key, int(seed), fresh=False).records.get(int(index))
    with tempfile.TemporaryDirectory(prefix="gputx-chaos-") as directory, staged(Path(directory) / "stage") as stage:
        if on_record:
            schedule = Schedule.from_dict(on_record["schedule"])
        else:
            census = Notes(build, int(seed), fresh=False).census(plan.client) or take_census(stage, plan.client)
            schedule = plan.campaign.schedule(int(seed), int(index), census)
        (record,) = plan.campaign.perform(stage, [schedule])
    print(json.dumps(record, indent=2, ensure_ascii=False))
    return 1 if record["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
