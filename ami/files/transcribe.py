"""Transcribe one file as a run does, in a process of its own, and say how long it took, as one line of JSON.

    transcribe.py MODEL_DIRECTORY AUDIO auto|cpu|cuda [DECODER] [ARGUMENT-OF-PYTHON…]

Runs with gputx_remote on the path. Seconds are counted from the start of the process: ``ready`` until the model was
loaded, ``first`` until the first text, ``whole`` until it had ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time


def main() -> None:
    model, audio, device, *rest = sys.argv[1:]
    decoder = rest[0] if rest else "auto"
    options = ["--model", model, "--device", device, "--decoder", decoder]
    if decoder not in ("auto", "transformers"):
        options += ["--algorithm", "vad"]
    asked = {"op": "transcribe", "id": "1", "path": audio, "options": {"language": "sv"}}
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *rest[1:], "-m", "gputx_remote", "worker", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps(asked) + "\n" + json.dumps({"op": "quit"}) + "\n")
        worker.stdin.close()
        said = {"texts": [], "notes": []}
        for line in worker.stdout:
            hear(json.loads(line), said, time.monotonic() - started)
    said["whole"] = round(time.monotonic() - started, 3)
    said["text"] = " ".join(said.pop("texts"))
    print(json.dumps(said, ensure_ascii=False))
    sys.exit(worker.returncode or "error" in said)


def hear(event: dict[str, object], said: dict[str, object], seconds: float) -> None:
    match event["event"]:
        case "model" if event["state"] == "ready":
            said |= {"ready": round(seconds, 3), "device": event["device"], "dtype": event["dtype"]}
        case "segment":
            said.setdefault("first", round(seconds, 3))
            said["texts"].append(event["text"].strip())
        case "note":
            said["notes"].append(event["text"])
        case "failed" | "fatal":
            said["error"] = event["error"]
        case "finished":
            said |= {"duration": event["duration"], "processing_time": event["processing_time"]}


main()
