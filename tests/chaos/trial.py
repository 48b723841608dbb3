"""Playing one schedule: a client is started, struck as the schedule says, and looked at when it has gone."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .schedules import Schedule, Strike
from .stage import Client, Holdings, Stage, holdings

LONGEST_SECONDS = 120.0
"""A client that takes longer than this, in real time, hangs."""

STDERR_KEPT = 6000


@dataclass
class Played:
    """What came of a schedule, up to the moment in which its client had gone.

    Attributes:
        code: its exit code; negative where a signal ended it.
        reached: where it was struck, and what there was of its own then.
        at_exit: what there was of its own in the account when it had gone.
        fault_hits: how often each fault took effect.
        calls: all that was asked of the account from its start to then.
    """

    schedule: Schedule
    home: Path
    code: int
    seconds: float
    before: Holdings
    at_exit: Holdings
    reached: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    stderr: str = ""
    fault_hits: dict[str, int] = field(default_factory=dict)
    hung: bool = False

    @property
    def struck(self) -> bool:
        """Whether all that the schedule has for the client came to it."""
        return len([hit for hit in self.reached if hit["sent"]]) >= len(self.schedule.strikes)

    @property
    def why_not_counted(self) -> str | None:
        """Why this trial proves nothing; None where it counts."""
        if not self.struck:
            return "the client had ended"
        if self.reached and self.reached[-1]["things"] <= 0:
            return "nothing existed yet"
        return None

    @property
    def run_ids(self) -> set[str]:
        """The runs that its calls were for."""
        return {call["tags"]["gputx:run"] for call in self.calls if "gputx:run" in call["tags"]}

    def record(self, violations: list[str], **more: Any) -> dict[str, Any]:
        """The line that is kept of it. Raises nothing."""
        kept: dict[str, Any] = {
            "campaign": self.schedule.campaign,
            "seed": self.schedule.seed,
            "index": self.schedule.index,
            "replay": replay_command(self.schedule),
            "counted": self.why_not_counted is None,
            "why_not_counted": self.why_not_counted,
            "reached": self.reached,
            "code": self.code,
            "live_at_exit": sorted(self.at_exit.live),
            "seconds": round(self.seconds, 2),
            "violations": violations,
            "schedule": self.schedule.as_dict(),
            **more,
        }
        if violations:
            kept["stderr"] = self.stderr[-STDERR_KEPT:]
            kept["at_exit"] = self.at_exit.everything
            kept["calls"] = [
                f"{c['number']} {c['service']}:{c['action']} {c['outcome']} {c['code']}" for c in self.calls
            ]
        return kept


def replay_command(schedule: Schedule) -> str:
    """What plays it again."""
    return f".venv/bin/python -m tests.chaos --replay {schedule.name}"


def play(
    stage: Stage,
    schedule: Schedule,
    *,
    home: Path | None = None,
    program: tuple[str, ...] = ("-m", "gputx"),
    arguments: tuple[str, ...] | None = None,
    longest: float = LONGEST_SECONDS,
    faults_stay: bool = False,
) -> Played:
    """Run one client under a schedule, to its end.

    Args:
        home: where; a new directory.
        longest: seconds, in real time, after which it hangs.
        faults_stay: leave the faults in force when the client has gone.
    """
    home = home or stage.home()
    first_call = stage.last_call()
    before = stage.look()
    rules = [stage.account.add_rule(text)["id"] for text in schedule.faults]
    arguments = arguments if arguments is not None else run_arguments(schedule)
    client = stage.start(home, *arguments, program=program)
    at_calls = [stage.account.add_rule(strike.rule(client.pid)) for strike in schedule.strikes if strike.call]
    hits: list[dict[str, Any]] = []
    timers = [_at_time(stage, client, strike, hits) for strike in schedule.strikes if not strike.call]
    hung = False
    with _limit(client, longest) as overdue:
        code = client.process.wait()
        hung = overdue.is_set()
    seconds = time.monotonic() - client.started
    table = stage.account.table()
    at_exit = holdings(table).since(before)
    for timer in timers:
        timer.cancel()
        timer.join()
    in_force = {rule["id"]: rule for rule in stage.account.rules()}
    hits += [hit for rule in at_calls for hit in in_force[rule["id"]]["reached"]]
    fault_hits = {in_force[id_]["text"]: in_force[id_]["hits"] for id_ in rules}
    for id_ in [rule["id"] for rule in at_calls] + ([] if faults_stay else rules):
        stage.account.remove_rule(id_)
    return Played(
        schedule=schedule,
        home=home,
        code=code,
        seconds=seconds,
        before=before,
        at_exit=at_exit,
        reached=[_own(hit, before, table) for hit in sorted(hits, key=lambda hit: hit["time"])],
        calls=stage.account.calls(first_call),
        stderr=client.stderr,
        fault_hits=fault_hits,
        hung=hung,
    )


def run_arguments(schedule: Schedule) -> tuple[str, ...]:
    """``gputx run`` on the clip, as a person would type it."""
    return ("run", "clip.wav", *(("--market", schedule.market) if schedule.market != "auto" else ()))


def _own(hit: dict[str, Any], before: Holdings, table: dict[str, Any]) -> dict[str, Any]:
    """Without what others had left before this client came; some of their instances may have ended by then."""
    when = hit["time"]
    others = [row["since"] for row in table["instances"] if row["instance_id"] in before.live | before.ending]
    alive = sum(since.get("shutting-down", since.get("terminated", when + 1)) > when for since in others)
    there = sum(since.get("terminated", when + 1) > when for since in others)
    lifeless = before.things - len(before.live) - len(before.ending)
    return {
        **hit,
        "time": round(when, 3),
        "alive": hit["alive"] - alive,
        "things": hit["things"] - there - lifeless,
    }


def _at_time(stage: Stage, client: Client, strike: Strike, hits: list[dict[str, Any]]) -> threading.Timer:
    """Strike when its time has come: look, and send at once."""

    def strike_now() -> None:
        table = stage.account.table()
        there = holdings(table)
        hit = {
            "at": f"{strike.seconds} s",
            "time": table["time"],
            "alive": len(there.live),
            "things": there.things,
            "sent": client.send(signal.Signals[f"SIG{strike.signals[0]}"]),
        }
        hits.append(hit)
        for name in strike.signals[1:]:
            time.sleep(strike.gap)
            client.send(signal.Signals[f"SIG{name}"])

    timer = threading.Timer(max(0.0, client.started + strike.seconds - time.monotonic()), strike_now)
    timer.daemon = True
    timer.start()
    return timer


@contextlib.contextmanager
def _limit(client: Client, seconds: float) -> Iterator[threading.Event]:
    """Kill a client that hangs; the event says so."""
    overdue = threading.Event()

    def pull() -> None:
        overdue.set()
        client.process.kill()

    timer = threading.Timer(seconds, pull)
    timer.daemon = True
    timer.start()
    try:
        yield overdue
    finally:
        timer.cancel()


class Turner:
    """Turns the clock on in small steps while a client waits: ``pace`` sandbox seconds for each real one."""

    def __init__(self, stage: Stage, *, pace: float, every: float = 0.1) -> None:
        self._stage = stage
        self._step = pace * every
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="turner", daemon=True)

    def __enter__(self) -> Turner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _turn(self) -> None:
        while not self._over.wait(self._every):
            self._stage.account.advance(self._step)
