"""Durations, money, settings, and the file names of outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputx import config, units
from gputx.clock import Stop
from gputx.errors import ConfigurationError, InputError
from gputx.workflows import outputs
from gputx.workflows.inputs import Source, collect
from gputx.workflows.model import Pins, directory_of
from gputx_remote.transcript import Segment, Transcript


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1d", 86400)]
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-3m", "h2", "1h-"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError):
        units.parse_duration(text)


def test_times_and_money_as_people_read_them() -> None:
    assert units.duration(7.04) == "7.0 s"
    assert units.duration(59.97) == "1 min 00 s"
    assert units.duration(1204) == "20 min 04 s"
    assert units.duration(3 * 3600 + 125) == "3 h 02 min"
    assert units.position(819) == "13:39"
    assert units.money(0.00168) == "$0.0017"
    assert units.money(12.5) == "$12.50"
    assert units.size(14_200_000) == "14.2 MB"


def load(tmp_path: Path, **parts: str) -> config.Configuration:
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True, exist_ok=True)
    user = tmp_path / "config.toml"
    if "project" in parts:
        (tmp_path / "project" / "gputx.toml").write_text(parts["project"])
    if "user" in parts:
        user.write_text(parts["user"])
    environ = {"GPUTX_TTL": parts["environ"]} if "environ" in parts else {}
    flags = {"ttl": parts.get("flag"), "zone": ()}
    return config.load(flags, environ=environ, cwd=project, user_file=user)


def test_the_first_source_that_says_something_wins(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    assert load(tmp_path, **said).origins["ttl"] == "default"
    for source, text, expected in [
        ("user", 'ttl = "1h"', "1h"),
        ("project", 'ttl = "2h"', "2h"),
        ("environ", "3h", "3h"),
        ("flag", "4h", "4h"),
    ]:
        said[source] = text
        assert load(tmp_path, **said).values["ttl"] == expected
    assert load(tmp_path, **said).origins["ttl"] == "flag --ttl"


@pytest.mark.parametrize(
    "line", ["ttl = 300", "ttl = 'soon'", "market = 'free'", "zone = [1]", "regoin = 'x'", "ttl =", "ttl = '1s'"]
)
def test_a_settings_file_is_checked(tmp_path: Path, line: str) -> None:
    if line == "ttl = 300":
        assert load(tmp_path, project=line).seconds("ttl") == 300
        return
    with pytest.raises(ConfigurationError):
        load(tmp_path, project=line)


def source(path: str) -> Source:
    return Source(path, Path(path), Path(path).stem)


@given(st.lists(st.sampled_from(["a.mp3", "a.wav", "b/a.mp3", "c/a.mp3", "a-2.mp3", "b.mp3", "a.mp3.ogg"])))
def test_output_names_never_collide(paths: list[str]) -> None:
    names = outputs.stems([source(path) for path in paths])
    assert len(set(names)) == len(paths)


def test_output_names_are_what_a_person_expects() -> None:
    assert outputs.stems([source("x/intervju.mp3"), source("b.wav")]) == ["intervju", "b"]
    assert outputs.stems([source("a.mp3"), source("a.wav")]) == ["a.mp3", "a.wav"]
    assert outputs.stems([source("x/a.mp3"), source("y/a.mp3")]) == ["a", "a-2"]


def test_formats_are_checked_and_all_is_all() -> None:
    assert outputs.formats(["SRT", "srt", "txt"]) == ("srt", "txt")
    assert set(outputs.formats(["all"])) >= {"txt", "srt", "vtt", "tsv", "json"}
    with pytest.raises(InputError, match="docx"):
        outputs.formats(["docx"])


def test_an_older_file_is_kept_and_the_same_text_is_not_written_twice(tmp_path: Path) -> None:
    transcript = Transcript((Segment(0, 1000, "Hej."),), "sv", 1000)
    target = tmp_path / "a.txt"
    for content in ("first", "second"):
        target.write_text(content)
        outputs.write(transcript, directory=tmp_path, stem="a", chosen=["txt"])
    assert target.read_text() == "Hej.\n"
    outputs.write(transcript, directory=tmp_path, stem="a", chosen=["txt"])
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"a.txt": "Hej.\n", "a.txt.~1~": "first", "a.txt.~2~": "second"}


def test_each_recording_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.mp3", "a.WAV", "sub/c.m4a", "notes.txt"):
        (tmp_path / name).touch()
    arguments = [str(tmp_path), str(tmp_path / "b.mp3"), str(tmp_path / "*.mp3"), str(tmp_path / "gone.mp3")]
    sources = collect(arguments, tmp_path, Stop())
    assert [Path(s.name).name for s in sources] == ["a.WAV", "b.mp3", "c.m4a", "gone.mp3"]
    assert [s.problem is None for s in sources] == [True, True, True, False]


def test_a_models_revision_is_pinned_by_its_first_use(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "state" / "models.json")
    assert pins.revision("a/b") is None
    assert pins.record("a/b", "1" * 40)
    assert not pins.record("a/b", "2" * 40)
    assert Pins(tmp_path / "state" / "models.json").revision("a/b") == "1" * 40
    (tmp_path / "state" / "models.json").write_text("{")
    with pytest.raises(ConfigurationError):
        pins.revision("a/b")


@pytest.mark.parametrize("name", ["./gone", "/gone", "a/b/c", "-x", "", "a b"])
def test_what_can_be_no_model(name: str) -> None:
    with pytest.raises(InputError):
        directory_of(name)


@pytest.mark.parametrize("cidr", ["everyone", "10.0.0.1/8", "2001:db8::/32", "1.2.3.4/33"])
def test_an_address_range_is_checked_before_anything_is_asked(cidr: str) -> None:
    with pytest.raises(InputError, match="--allow-cidr"):
        config.load({"allow_cidr": (cidr,)}, environ={})
