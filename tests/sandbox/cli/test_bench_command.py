"""``gputx bench`` here and on an instance: a table, a document, a picture, and nothing left running."""

from __future__ import annotations

import signal
from xml.etree import ElementTree as ET

import pytest
from product import CLIP, REFERENCES, Cli, Ended, descendants, instance, signal_at

pytestmark = pytest.mark.slow

TWO = ("--decoder", "ctranslate2", "--decoder", "torch", "--compute-type", "float32")


@pytest.fixture
def reference(cli: Cli) -> str:
    (cli.directory / "said.txt").write_text(REFERENCES[CLIP.name], encoding="utf-8")
    return "said.txt"


def test_two_decoders_here(cli: Cli, reference: str) -> None:
    ended = cli(
        "bench", CLIP, "--model", cli.account.model, "--reference", reference, *TWO, "--rounds", "2", "-o", "ut"
    )

    about, head, *rows = ended.out.splitlines()
    assert "medians of 2 rounds" in about
    assert head.split("  ")[0] == "CONTESTANT"
    assert "WER %" in head
    assert sorted(row.split("  ")[0] for row in rows) == ["vad ctranslate2 float32", "vad torch float32"]
    speeds = [float(row.split()[4]) for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    assert "on this machine" in ended.err
    (picture,) = (cli.directory / "ut").iterdir()
    assert picture.name == "clip01.bench.svg"
    assert ET.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")
    # Turns alternate, and each is a worker's of its own.
    turns = [line for line in ended.err.splitlines() if line.startswith("loading the model")]
    assert [turn.split()[4] for turn in turns] == ["torch", "ctranslate2"] * 2


def stored(cli: Cli) -> int:
    """Objects among the results in S3; other tests may have put some there."""
    bucket = f"transcription-{cli.account.account_id}"
    return len(cli.boto("s3").list_objects_v2(Bucket=bucket, Prefix="results/").get("Contents", ()))


def test_on_an_instance_that_is_shared_and_ended(cli: Cli, reference: str) -> None:
    before, shelved = len(cli.account.table()["instances"]), stored(cli)
    document = cli("bench", CLIP, "--on", "sandbox", "--reference", reference, *TWO, "--json").document

    assert document["version"] == 1
    bench, contestants = document["bench"], document["contestants"]
    assert len(cli.account.table()["instances"]) == before + 1
    assert bench["instance_id"] == instance(cli)["instance_id"]
    assert bench["instance_type"] == "g4dn.xlarge"
    assert bench["model"] == "gputx/tiny-sv"
    assert bench["cost"] > 0
    assert bench["duration"] == pytest.approx(12.73, abs=0.1)
    assert {contestant["decoder"] for contestant in contestants} == {"ctranslate2", "torch"}
    for contestant in contestants:
        assert contestant["error"] is None
        assert contestant["wer"] <= 0.10
        assert contestant["processing_time"] > 0
        assert contestant["load_time"] < contestant["first_text"]
        assert contestant["memory"] > 50e6
        assert contestant["gpu_memory"] is None
        assert len(contestant["trials"]) == 1
    assert bench["picture"] == "clip01.bench.svg"
    assert stored(cli) == shelved


def refused(ended: Ended, *words: str) -> None:
    """One clear line, and nothing on stdout."""
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error:"))
    assert all(word in line for word in words), line
    assert ended.out == ""


def test_what_can_not_be_measured_is_one_clear_line(cli: Cli) -> None:
    files = {
        "tom.txt": b"",
        "bild.txt": b"\x89PNG\r\n\x1a\n\x00",
        "text.mp3": b"Hej. " * 500,
    }
    for name, content in files.items():
        (cli.directory / name).write_bytes(content)
    refused(cli("bench", "borta.mp3", code=2), "borta.mp3", "no such file")
    refused(cli("bench", CLIP, "--reference", "tom.txt", code=2), "tom.txt", "no words")
    refused(cli("bench", CLIP, "--reference", "bild.txt", code=2), "bild.txt", "not text")
    refused(cli("bench", CLIP, "--decoder", "whisper", code=2), "'whisper'", "ctranslate2")
    refused(cli("bench", CLIP.parent, code=2), "one recording")
    refused(cli("bench", "text.mp3", code=1), "text.mp3")
    model = ("--model", cli.account.model)
    refused(cli("bench", CLIP, *model, "--decoder", "torch", "--compute-type", "float16", code=2), "on the CPU")
    unknown = ("--model", "nobody/no-such-model")
    refused(cli("bench", CLIP, *unknown, *TWO, code=3), "nobody/no-such-model", "can't be reached")
    assert not list(cli.directory.glob("*.svg"))


def test_an_interrupt_ends_it_all(cli: Cli) -> None:
    here = signal_at("loading the model", signal.SIGINT)
    ended = cli.watch("bench", CLIP, "--model", cli.account.model, *TWO, on=here)
    assert ended.code == 130
    assert "stopped" in ended.err
    assert not list(cli.directory.glob("*.svg"))

    there = signal_at("loading the model", signal.SIGINT)
    ended = cli.watch("bench", CLIP, "--on", "sandbox", *TWO, on=there)
    assert ended.code == 130
    assert "nothing left running" in ended.err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}
    assert not [command for _, command in descendants(cli.account.pid) if " attach " in command]
