"""What people feed it: one clear line each, the right code, and the good files of the same call still done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from product import HELD_OUT, REFERENCES, Cli, wer

GOOD = HELD_OUT / "clip01.flac"
TEXT = REFERENCES["clip01.flac"]


def errors(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("missing.mp3", "no such file"),
        ("empty-dir", "holds no audio"),
        ("*.wav", "no file matches"),
        ("/dev/null", ""),
    ],
)
def test_nothing_to_do_is_a_usage_error_and_launches_nothing(cli: Cli, argument: str, words: str) -> None:
    (cli.directory / "empty-dir").mkdir()
    before = len(cli.account.table()["instances"])
    ended = cli("run", argument, code=2)

    assert len(errors(ended.err)) == 1
    assert words in errors(ended.err)[0]
    assert len(cli.account.table()["instances"]) == before


def test_files_that_are_no_audio_fail_alone(cli: Cli) -> None:
    d = cli.directory
    (d / "empty.wav").touch()
    (d / "text.mp3").write_text("Det här är ingen inspelning.\n" * 50)
    (d / "html.m4a").write_bytes(b"<html><body>404</body></html>" * 40)
    soundfile.write(d / "zero.wav", np.zeros(0, dtype="float32"), 16000)
    (d / "locked").mkdir()
    (d / "link.mp3").symlink_to("nowhere.mp3")
    bad = ["empty.wav", "text.mp3", "html.m4a", "zero.wav", "missing.mp3", "locked", "link.mp3"]

    ended = cli("run", *bad, GOOD, "--json", "--bucket", "none", code=1)

    files = {Path(file["input"]).name: file for file in ended.document["files"]}
    assert len(errors(ended.err)) == len(bad)
    for name in bad:
        assert files[name]["error"], name
        assert "\n" not in files[name]["error"]
    assert files["clip01.flac"]["error"] is None
    assert wer(TEXT, files["clip01.flac"]["text"]) <= 0.10


def test_unusual_audio_is_just_audio(cli: Cli) -> None:
    """Eight channels, 8 kHz, 96 kHz, and a truncated mp3 give the same words; names may hold anything."""
    samples, rate = soundfile.read(HELD_OUT / "clip04.flac", dtype="float32")
    d = cli.directory
    soundfile.write(d / "åtta kanaler.wav", np.tile(samples[:, None], (1, 8)), rate)
    soundfile.write(d / 'hög "takt".wav', np.repeat(samples, 6), rate * 6)
    soundfile.write(d / "rad\nbrytning's.mp3", samples, rate)
    whole = d / "whole.mp3"
    soundfile.write(whole, samples, rate)
    (d / "truncated.mp3").write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    whole.unlink()

    ended = cli("run", ".", "--json", "-f", "srt", "-o", "ut", "--bucket", "none")

    words = REFERENCES["clip04.flac"]
    for file in ended.document["files"]:
        assert wer(words, file["text"]) <= (0.35 if "truncated" in file["input"] else 0.10), file["input"]
        assert Path(cli.directory, file["outputs"][0]).is_file()
    assert len(ended.document["files"]) == 4
    assert "\n's" not in ended.err  # a newline in a name can't break a line of the log


def test_a_full_disk_loses_only_the_file(cli: Cli) -> None:
    """The text is still on stdout and in S3."""
    full = cli.directory / "full"
    full.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full], check=False).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        (full / "ballast").write_bytes(b"x" * 4096)
        ended = cli("run", GOOD, "-o", "full", "-f", "all", "--json", code=1)
    finally:
        subprocess.run(["umount", full], check=True)
    assert "could not be written" in errors(ended.err)[0]
    assert len(errors(ended.err)) == 1
    assert wer(TEXT, ended.document["files"][0]["text"]) <= 0.10
    assert ended.document["files"][0]["s3"]


def test_a_file_without_permission(cli: Cli) -> None:
    locked = cli.directory / "locked.flac"
    shutil.copy(GOOD, locked)
    locked.chmod(0)
    command = [sys.executable, "-m", "gputx", "run", "locked.flac"]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    ended = subprocess.run(
        command, cwd=cli.directory, env=cli.environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode in {1, 2}
    assert "permission" in errors(ended.stderr)[0].lower()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-f", "docx"], "can't be 'docx'"),
        (["--language", "klingon"], "klingon"),
        (["--ttl", "soon"], "not a duration"),
        (["--model", "./no-such-model"], "no model"),
        (["--zone", "eu-north-1z"], "eu-north-1z"),
        (["--on", "mars"], "mars"),
        (["-o", "/proc/nowhere"], "can't be written"),
    ],
)
def test_options_that_make_no_sense(cli: Cli, options: list[str], words: str) -> None:
    ended = cli("run", GOOD, *options, code=2)
    assert words in ended.err
    assert len([line for line in ended.err.splitlines() if line.lower().startswith("error:")]) == 1


def test_a_model_nobody_knows(cli: Cli) -> None:
    ended = cli("run", GOOD, "--on", "local", "--model", "nobody/no-such-model", code=3)
    assert len(errors(ended.err)) == 1
    assert "nobody/no-such-model" in errors(ended.err)[0]


def test_a_model_nobody_knows_on_an_instance(cli: Cli) -> None:
    ended = cli("run", GOOD, "--model", "nobody/no-such-model", "--bucket", "none", code=3)
    assert len(errors(ended.err)) == 1
    assert "nobody/no-such-model" in errors(ended.err)[0]


def test_settings_from_files_are_checked_too(cli: Cli) -> None:
    (cli.directory / "gputx.toml").write_text('regoin = "eu-north-1"\n')
    ended = cli("run", GOOD, code=3)
    assert "did you mean region" in ended.err
