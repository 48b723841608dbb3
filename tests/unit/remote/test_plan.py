"""The plan of windows as a value: it can't be wrong in itself, accounts for every sample, survives JSON, has a name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gputx_remote.speech.plan import LONGEST_WINDOW, Plan, Span, SpeechOptions, Window


def plan(*edges: tuple[int, int], samples: int = 1_000_000) -> Plan:
    windows = tuple(Window(number, a, b, (Span(a, b),)) for number, (a, b) in enumerate(edges))
    return Plan(samples, windows, SpeechOptions(), "silero")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    edges = sorted(draw(st.sets(st.integers(0, 400_000), min_size=0, max_size=20)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    tail = draw(st.integers(0, 3))
    options = SpeechOptions(threshold=draw(st.floats(0.2, 0.9)), padding_after_ms=draw(st.integers(0, 1000)))
    windows = tuple(Window(i, a, b, (Span(a, b),) if i % 2 else ()) for i, (a, b) in enumerate(pairs))
    return Plan((edges[-1] if edges else 0) + tail, windows, options, draw(st.sampled_from(["silero", "energy"])))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_every_sample_is_in_one_window_or_in_one_silence(value: Plan) -> None:
    stretches = [(w.start, w.stop) for w in value.windows] + [(s.start, s.stop) for s in value.silences()]
    reached = 0
    for start, stop in sorted(stretches):
        assert start == reached
        assert stop > start
        reached = stop
    assert reached == value.samples


@settings(max_examples=60, deadline=None)
@given(plans())
def test_json_gives_the_same_plan_back(value: Plan) -> None:
    again = Plan.from_json(value.to_json())
    assert again == value
    assert hash(again) == hash(value)
    assert again.digest == value.digest
    assert again.to_json() == value.to_json()


def test_the_name_changes_with_anything_in_the_plan() -> None:
    values = [
        plan((0, 100)),
        plan((0, 101)),
        plan((0, 100), samples=1_000_001),
        plan((0, 50), (50, 100)),
        Plan(1_000_000, plan((0, 100)).windows, SpeechOptions(padding_before_ms=0), "silero"),
        Plan(1_000_000, plan((0, 100)).windows, SpeechOptions(), "energy"),
        Plan(1_000_000, (Window(0, 0, 100, ()),), SpeechOptions(), "silero"),
    ]
    digests = {value.digest for value in values}
    assert len(digests) == len(values)
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ([(0, 100), (50, 150)], "overlaps"),
        ([(100, 200), (0, 50)], "overlaps"),
        ([(10, 10)], "empty"),
        ([(0, 1_000_001)], "outside"),
        ([(-1, 10)], "outside"),
        ([(0, LONGEST_WINDOW + 1)], "longer than 30 s"),
    ],
)
def test_windows_that_can_not_be(edges: list[tuple[int, int]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(*edges)


@pytest.mark.parametrize("speech", [((0, 5),), ((10, 21),), ((15, 15),), ((15, 18), (17, 19))])
def test_speech_that_can_not_be(speech: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="speech of window 0"):
        Plan(100, (Window(0, 10, 20, tuple(Span(a, b) for a, b in speech)),), SpeechOptions(), "silero")


def test_windows_are_numbered_from_0() -> None:
    with pytest.raises(ValueError, match="index 1"):
        Plan(100, (Window(1, 10, 20, ()),), SpeechOptions(), "silero")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"samples":1,"detector":"silero","options":{},"windows":3}'])
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error or ours, both are ValueErrors
        Plan.from_json(text)


def test_a_plan_that_was_tampered_with_is_refused() -> None:
    value = json.loads(plan((0, 100), (200, 300)).to_json())
    value["windows"][0]["stop"] = 250
    with pytest.raises(ValueError, match="overlaps"):
        Plan.from_json(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("detector", "webrtc"),
        ("threshold", 0),
        ("threshold", 1.0),
        ("threshold", float("nan")),
        ("threshold", "0.5"),
        ("hysteresis", 0.5),
        ("hysteresis", -0.1),
        ("min_speech_ms", -1),
        ("min_silence_ms", 5000),
        ("padding_before_ms", 1500),
        ("padding_after_ms", -1),
        ("max_window_seconds", 31),
        ("max_window_seconds", 0),
        ("max_silence_seconds", 1),
    ],
)
def test_options_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        SpeechOptions(**{name: value})
    assert "\n" not in str(raised.value)
