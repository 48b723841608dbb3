"""``gputx run`` from a recording to a text, a bucket and a receipt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from product import HELD_OUT, REFERENCES, Cli, descendants, wer

from gputx_remote.writers import FORMATS

FILES = ("clip03.flac", "clip04.flac")


def test_one_file_becomes_text_on_stdout_on_disk_and_in_s3(cli: Cli) -> None:
    ended = cli("run", HELD_OUT / "clip01.flac", "-f", "all")

    assert wer(REFERENCES["clip01.flac"], ended.out) <= 0.10
    written = {path.name: path.read_text(encoding="utf-8") for path in cli.directory.glob("clip01.*")}
    assert set(written) == {f"clip01.{suffix}" for suffix in FORMATS}
    assert written["clip01.txt"] == ended.out
    for words in (
        "looked for capacity",
        "launched",
        "booted",
        "SSH up",
        "model loaded",
        "transcribed",
        "terminated",
    ):
        assert words in ended.err
    assert "seen shutting-down" in ended.err
    assert ended.err.rstrip().endswith("nothing left running")

    bucket = f"transcription-{cli.account.account_id}"
    keys = [item["Key"] for item in cli.boto("s3").list_objects_v2(Bucket=bucket, Prefix="results/")["Contents"]]
    newest = max(key.split("/")[1] for key in keys)
    names = {key.split("/", 2)[2] for key in keys if newest in key}
    assert names == {
        "metadata.json",
        *(f"transcription.{suffix}" for suffix in FORMATS),
    }
    body = cli.boto("s3").get_object(Bucket=bucket, Key=f"results/{newest}/transcription.txt")["Body"].read().decode()
    assert body == ended.out
    metadata = json.loads(
        cli.boto("s3").get_object(Bucket=bucket, Key=f"results/{newest}/metadata.json")["Body"].read()
    )
    assert metadata["instance_id"].startswith("i-")
    assert metadata["market"] == "spot"
    assert metadata["instance_type"] == "g4dn.xlarge"
    assert metadata["model"] == "gputx/tiny-sv"
    assert len(metadata["model_revision"]) in {40, 64}
    assert metadata["duration"] == pytest.approx(12.73, abs=0.1)
    assert 0 < metadata["real_time_factor"] < 10
    assert metadata["cost"]["total"] > 0
    assert {"launch", "boot", "transcribe", "terminate"} <= {phase["name"] for phase in metadata["phases"]}


def test_several_files_share_one_instance_and_json_tells_all(cli: Cli) -> None:
    folder = cli.directory / "arkiv"
    (folder / "band 1").mkdir(parents=True)
    shutil.copy(HELD_OUT / FILES[0], folder / "band 1")
    shutil.copy(HELD_OUT / FILES[1], folder)
    (folder / "notes.txt").write_text("not audio")

    document = cli("run", folder, "--json", "-o", "out", "--output_format", "txt,srt").document

    assert document["version"] == 1
    run, files = document["run"], document["files"]
    assert [Path(file["input"]).name for file in files] == list(FILES)
    for file in files:
        assert file["error"] is None
        assert wer(REFERENCES[Path(file["input"]).name], file["text"]) <= 0.10
        ends = [moment for segment in file["segments"] for moment in (segment["start"], segment["end"])]
        assert ends == sorted(ends)
        assert ends[0] >= 0
        assert ends[-1] <= file["duration"]
        assert {Path(path).suffix for path in file["outputs"]} == {".txt", ".srt"}
        assert all((cli.directory / path).is_file() for path in file["outputs"])
        folders = {address.split("/")[-2] for address in file["s3"]}
        assert folders == {Path(file["input"]).stem}
    assert run["instance_type"] == "g4dn.xlarge"
    assert run["attempts"][-1]["code"] is None
    assert sum(attempt["code"] is None for attempt in run["attempts"]) == 1
    assert run["cost"]["total"] < run["cost"]["on_demand_total"]
    launched = [i for i in cli.account.table()["instances"] if i["instance_id"] == run["instance_id"]]
    assert len(launched) == 1


def test_standard_input_and_a_quiet_run(cli: Cli) -> None:
    with (HELD_OUT / "clip01.flac").open("rb") as recording:
        process = cli.start("run", "-", "--quiet", "--bucket", "none", stdin=recording)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0
    assert err == ""
    assert wer(REFERENCES["clip01.flac"], out) <= 0.10
    assert (cli.directory / "stdin.txt").read_text(encoding="utf-8") == out


def test_a_dry_run_plans_and_makes_nothing(cli: Cli) -> None:
    before = cli.account.table()["instances"]
    ended = cli("run", HELD_OUT / "clip01.flac", "--dry-run")

    lines = ended.out.splitlines()
    assert "spot" in lines[1]
    assert "$0." in lines[1]
    assert any("on-demand" in line for line in lines)
    assert "nothing was launched" in ended.err
    assert cli.account.table()["instances"] == before
    assert not list(cli.directory.glob("clip01.*"))


def test_a_model_of_ones_own_is_sent_along(cli: Cli) -> None:
    ended = cli("run", HELD_OUT / "clip01.flac", "--model", cli.account.model, "--json", "--bucket", "none")

    assert ended.document["run"]["model"] == cli.account.model.name
    assert wer(REFERENCES["clip01.flac"], ended.document["files"][0]["text"]) <= 0.10


def test_the_same_engine_here_gives_the_same_text(cli: Cli) -> None:
    here = cli("run", HELD_OUT / "clip03.flac", "--on", "local", "--model", cli.account.model, "--json", "-o", "a")
    there = cli("run", HELD_OUT / "clip03.flac", "--json", "-o", "b")

    assert here.document["files"][0]["text"] == there.document["files"][0]["text"]
    assert here.document["run"]["instance_id"] is None
    assert here.document["run"]["cost"]["total"] is None


def test_speech_detection_does_as_it_is_told(cli: Cli) -> None:
    here = ("run", HELD_OUT / "clip01.flac", "--on", "local", "--model", cli.account.model)
    deaf = cli(*here, "--vad-threshold", "0.9999", "--vad-hysteresis", "0")
    short = cli(*here, "--max-window-seconds", "5")

    assert deaf.out.strip() == ""
    assert "transcribed: 12.7 s, 0 windows" in deaf.err
    assert wer(REFERENCES["clip01.flac"], short.out) <= 0.10
    assert "transcribed: 12.7 s, 3 windows" in short.err


def test_an_older_text_is_kept(cli: Cli) -> None:
    mine = cli.directory / "clip01.txt"
    mine.write_text("my own corrections")
    cli("run", HELD_OUT / "clip01.flac", "--on", "local", "--model", cli.account.model)

    assert wer(REFERENCES["clip01.flac"], mine.read_text(encoding="utf-8")) <= 0.10
    assert (cli.directory / "clip01.txt.~1~").read_text() == "my own corrections"


def test_the_model_begins_to_load_before_ssh_answers(cli: Cli) -> None:
    """The instance fetched the payload by itself and serves; the client only attaches."""
    commands: list[str] = []

    def look(line: str, _process: object) -> None:
        if line.startswith("model loaded"):
            commands.extend(command for _, command in descendants(cli.account.pid))

    ended = cli.watch("run", HELD_OUT / "clip01.flac", on=look)

    assert ended.code == 0
    assert any(" serve --socket " in command for command in commands)
    assert any(" attach --socket " in command for command in commands)
    assert not any(" worker " in command for command in commands)
