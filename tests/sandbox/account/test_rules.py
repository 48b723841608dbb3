"""The grammar of rules, the clock and the timers, without a daemon."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputx.clock import Stop
from gputx.errors import InputError, InterruptedBySignal
from gputx.sandbox.clock import SandboxClock, read_offset, write_offset
from gputx.sandbox.grammar import parse
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.rules import Fault, Interruption, NoCapacity, Setting, Signal
from gputx.sandbox.timers import Timers
from gputx.units import parse_duration


def test_a_fault_says_what_where_and_how_often() -> None:
    rule = parse("s3:PutObject error=SlowDown message='not so fast' delay=5s times=3 skip=1")
    assert isinstance(rule, Fault)
    assert (rule.service, rule.action, rule.error, rule.status) == ("s3", "PutObject", "SlowDown", 503)
    assert (rule.message, rule.delay, rule.times, rule.skip) == ("not so fast", 5.0, 3, 1)


def test_status_follows_the_code_unless_given() -> None:
    capacity = parse("RunInstances error=InsufficientInstanceCapacity")
    unusual = parse("RunInstances error=Unsupported status=503")
    plain = parse("RunInstances error=Unsupported")
    assert isinstance(capacity, Fault)
    assert isinstance(unusual, Fault)
    assert isinstance(plain, Fault)
    assert (capacity.status, unusual.status, plain.status) == (500, 503, 400)


def test_the_other_kinds() -> None:
    pool = parse("pool zone=eu-north-1a market=spot no-capacity")
    assert isinstance(pool, NoCapacity)
    assert pool.match == {"zone": "eu-north-1a", "market": "spot"}
    interruption = parse("interrupt instance=i-1 after=30s notice=0s")
    assert isinstance(interruption, Interruption)
    assert (interruption.after, interruption.notice, interruption.times) == (30.0, 0.0, 1)
    for text, name, value in (
        ("quota spot=0", "quota spot", 0),
        ("lag 500s", "lag", 500),
        ("pending 2m", "pending", 120),
    ):
        setting = parse(text)
        assert isinstance(setting, Setting)
        assert (setting.name, setting.value) == (name, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RunInstances",
        "RunInstances error=",
        "RunInstances error=A error=B",
        "RunInstances error=A drop=after",
        "RunInstances drop=sometimes",
        "RunInstances status=500",
        "RunInstances error=A times=-1",
        "RunInstances error=A market=cheap",
        "RunInstances error=A colour=red",
        "RunInstances delay=soon",
        "Run/Instances error=A",
        'RunInstances error="A',
        "pool zone=a",
        "pool no-capacity after=3s",
        "interrupt after=30s",
        "interrupt any instance=i-1",
        "quota",
        "quota spot=many",
        "quota spot=1 on-demand=1",
        "lag",
        "lag 1s 2s",
        "pending soon",
        "RunInstances signal=INT",
        "RunInstances signal=INT pid=7",
        "RunInstances signal=INT at=before",
        "RunInstances signal=INT pid=7 at=once",
        "RunInstances signal=LOUD pid=7 at=after",
        "RunInstances signal=INT, pid=7 at=after",
        "RunInstances signal=INT pid=0 at=after",
        "RunInstances signal=INT pid=1 at=after",
        "RunInstances signal=INT pid=-7 at=after",
        "RunInstances signal=INT pid=7 at=after error=X",
        "RunInstances signal=INT pid=7 at=after drop=after",
        "RunInstances signal=INT pid=7 at=after gap=soon",
        "no-user-data after=3s",
    ],
)
def test_what_is_no_rule_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.hint


def test_a_signal_says_whom_when_and_how_often() -> None:
    rule = parse("s3:Put* signal=INT,sigterm,KILL pid=4711 at=response gap=50ms delay=2s skip=3 times=1")
    assert isinstance(rule, Signal)
    assert (rule.service, rule.action, rule.pid, rule.at) == ("s3", "Put*", 4711, "response")
    assert rule.signals == (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    assert (rule.gap, rule.delay, rule.skip, rule.times, rule.kills) == (0.05, 2.0, 3, 1, False)
    assert rule.as_dict()["reached"] == []


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_refused_in_words(text: str) -> None:
    # Any other exception fails the test: a person typed this.
    with contextlib.suppress(InputError):
        assert parse(text).text == text


def test_durations() -> None:
    durations = [parse_duration(text) for text in ("90", "90s", "1.5m", "2h", "1d", "250ms")]
    assert durations == [90, 90, 90, 7200, 86400, 0.25]


def test_the_last_setting_holds_and_skipped_hits_do_not_count() -> None:
    book = RuleBook({"lag": 0.3})
    book.add("lag 5s")
    last = book.add("lag 9s")
    assert book.value("lag") == 9
    book.remove(last.id)
    assert book.value("lag") == 5
    book.add("Describe* error=X skip=2 times=1 type=g4dn.*")
    facets = {"type": "g4dn.xlarge"}
    assert book.fault("ec2", "DescribeInstances", {"type": "t3.micro"}) is None
    hits = [book.fault("ec2", "DescribeInstances", facets) is not None for _ in range(5)]
    assert hits == [False, False, True, False, False]


def test_the_clock_is_real_time_and_an_offset_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = SandboxClock(file)
    assert abs(clock.time() - time.time()) < 1
    write_offset(file, 3600.5)
    assert file.read_text() == "3600.5\n"
    assert 3600 < clock.time() - time.time() < 3601
    assert read_offset(file) == 3600.5


def test_a_sleeper_notices_a_turn_of_the_clock(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock")
    done = threading.Event()

    def sleep() -> None:
        clock.sleep(3600)
        done.set()

    threading.Thread(target=sleep, daemon=True).start()
    assert not done.wait(0.1)
    write_offset(tmp_path / "clock", 3601.0)
    assert done.wait(2)


def test_a_sleeper_notices_a_wish_to_stop(tmp_path: Path) -> None:
    stop = Stop()
    threading.Timer(0.1, stop.request, [15]).start()
    with pytest.raises(InterruptedBySignal):
        SandboxClock(tmp_path / "clock").sleep(3600, stop)


def test_timers_fire_in_order_at_the_time_they_were_due(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock")
    timers = Timers(clock, threading.RLock())
    start = clock.time()
    fired: list[tuple[str, float]] = []

    def first(due: float) -> None:
        fired.append(("first", timers.now()))
        timers.at(due + 10, lambda _: fired.append(("third", timers.now())))

    timers.at(start + 30, lambda _: fired.append(("fourth", timers.now())))
    timers.at(start + 15, lambda _: fired.append(("second", timers.now())))
    timers.at(start + 10, first)
    timers.at(start + 12, lambda _: fired.append(("never", 0.0))).cancel()
    timers.run_due()
    assert fired == []
    write_offset(tmp_path / "clock", 1000.0)
    timers.run_due()
    assert fired == [
        ("first", start + 10),
        ("second", start + 15),
        ("third", start + 20),
        ("fourth", start + 30),
    ]
    assert timers.now() >= start + 1000


def test_a_timer_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock")
    timers = Timers(clock, threading.RLock())
    fired = []

    def fail(_: float) -> None:
        raise ValueError("as this test wants")

    timers.at(0.0, fail)
    timers.at(1.0, fired.append)
    timers.run_due()
    assert fired == [1.0]
