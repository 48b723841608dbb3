"""A worker as a client meets it: a zip in a clean Python, JSON Lines in and out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from material import Clip

LAST = {"finished", "failed", "fatal"}


def command(payload: Path, *arguments: str) -> list[str]:
    # -I: nothing of this checkout or of the environment may be needed, only the zip.
    return [sys.executable, "-I", "-X", "utf8", str(payload), *arguments]


def converse(
    payload: Path, model: Path | str, requests: list[dict[str, Any]], *arguments: str
) -> tuple[int, list[dict[str, Any]], str]:
    """Send commands to a new worker, close its stdin; return its status, events and log."""
    sent = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        command(payload, "worker", "--model", str(model), *arguments),
        input=sent.encode(),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
        timeout=120,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_real_speech_through_the_zip(payload: Path, model_path: Path, clips: dict[str, Clip], tmp_path: Path) -> None:
    text = tmp_path / "text.mp3"
    text.write_text("Hej " * 1000)
    chosen = {name: clips[name] for name in ("clip03", "clip08")}
    requests = [
        {"op": "transcribe", "id": "broken", "path": str(text)},
        *(
            {"op": "transcribe", "id": name, "path": str(clip.path), "options": {"language": "sv"}}
            for name, clip in chosen.items()
        ),
    ]
    status, events, log = converse(
        payload,
        model_path,
        requests,
        "--model-name",
        "KBLab/kb-whisper-small",
        "--revision",
        "abc",
        "--device",
        "cpu",
    )
    assert (status, log) == (0, "")

    # The first use of a model by this decoder on a machine says that it converts it.
    hello, loading, ready, failed = [event for event in events if event["event"] != "note"][:4]
    assert hello | {"pid": 0} == {"event": "hello", "protocol": 1, "version": hello["version"], "pid": 0}
    named = {"event": "model", "model": "KBLab/kb-whisper-small", "revision": "abc"}
    assert loading == named | {"state": "loading", "device": None, "dtype": None, "seconds": 0.0}
    assert ready == named | {
        "state": "ready",
        "device": "cpu",
        "dtype": "int8_float32",
        "seconds": ready["seconds"],
    }
    assert ready["seconds"] > 0
    assert failed == {
        "event": "failed",
        "id": "broken",
        "kind": "audio",
        "error": "its content is no audio or video that FFmpeg knows",
    }

    for name, clip in chosen.items():
        own = [event for event in events if event.get("id") == name]
        segments = [event for event in own if event["event"] == "segment"]
        assert own[0]["event"] == "started"
        assert clip.wer(" ".join(segment["text"] for segment in segments)) == 0
        end = 0
        for segment in segments:
            assert end <= segment["start_ms"] <= segment["end_ms"] <= own[0]["duration"] * 1000
            end = segment["end_ms"]
        finished = own[-1]
        assert finished["event"] == "finished"
        assert (finished["language"], finished["duration"]) == ("sv", own[0]["duration"])
        assert finished["processing_time"] > 0
        progress = [event for event in own if event["event"] == "progress"]
        assert [event["windows"] for event in progress] == [1, 1]
        assert finished["windows"] == 1
        assert progress[-1]["done"] == progress[-1]["total"] == own[0]["duration"]


def test_an_unknown_model_is_fatal(payload: Path, tmp_path: Path) -> None:
    status, events, _ = converse(payload, tmp_path / "none", [])
    assert status == 3
    assert [event["event"] for event in events] == ["hello", "fatal"]
    assert events[1]["kind"] == "model"
    assert str(tmp_path / "none") in events[1]["error"]


def test_a_model_nobody_can_fetch_is_fatal_after_a_note(payload: Path) -> None:
    status, events, _ = converse(payload, "nobody/no-such-model", [])
    assert status == 3
    assert [event["event"] for event in events] == ["hello", "note", "fatal"]
    assert "nobody/no-such-model" in events[2]["error"]


@pytest.mark.parametrize("arguments", [[], ["dance"], ["worker"], ["worker", "--model", "x", "--batch-size", "0"]])
def test_wrong_usage(payload: Path, arguments: list[str]) -> None:
    done = subprocess.run(command(payload, *arguments), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage:" in done.stderr


def test_sigterm_ends_a_worker_that_is_loading(payload: Path, model_path: Path) -> None:
    with subprocess.Popen(
        command(payload, "worker", "--model", str(model_path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "hello"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
