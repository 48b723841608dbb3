"""Worker protocol 1: what a command may be, and what becomes of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gputx
import gputx_remote
from gputx_remote import protocol
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.errors import ProtocolError


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_commands_are_read_until_quit() -> None:
    first, second = protocol.commands(
        [
            b"\n",
            line(op="transcribe", id="a", path="/in/å ä.flac", options={"language": "en", "task": "translate"}),
            line(op="quit"),
            b"never read",
        ]
    )
    assert first == protocol.Transcribe("a", Path("/in/å ä.flac"), TranscribeOptions("en", "translate"))
    assert isinstance(second, protocol.Quit)


def test_options_may_be_left_out() -> None:
    (command,) = protocol.commands([line(op="transcribe", id="a", path="b")])
    assert command == protocol.Transcribe("a", Path("b"), TranscribeOptions(None, "transcribe"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (b"{\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[1]\n", "not a JSON object"),
        (line(op="dance"), "unknown op 'dance'"),
        (line(), "unknown op None"),
        (line(op="transcribe", id=1, path="a"), "needs id and path"),
        (line(op="transcribe", id="a"), "needs id and path"),
        (line(op="transcribe", id="a", path="b", options=[1]), "options as an object"),
        (line(op="transcribe", id="a", path="b", options={"language": 1}), "options.language can't be 1"),
        (line(op="transcribe", id="a", path="b", options={"volume": 1}), "unknown option 'volume'"),
        (line(op="transcribe", id="a", path="b", options={"temperatures": ["hot"]}), "the options can't be"),
        (line(op="transcribe", id="a", path="b", options={"temperatures": []}), "one at least"),
        (line(op="transcribe", id="a", path="b", options={"thresholds": {"mood": 1}}), "mood"),
        (line(op="transcribe", id="a", path="b", options={"thresholds": {"repeats": "x"}}), "repeats is a number"),
        (line(op="transcribe", id="a", path="b", options={"thresholds": {"repeats": 1}}), "2 or more"),
        (line(op="transcribe", id="a", path="b", options={"speech": {"detector": "cat"}}), "detector"),
        (line(op="transcribe", id="a", path="b", options={"task": "sing"}), "transcribe and translate"),
    ],
)
def test_anything_else_is_refused(command: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(protocol.commands([command]))


def test_an_event_is_one_line_of_utf8() -> None:
    encoded = protocol.encode("segment", {"text": "på\nsjön"})
    assert encoded.count(b"\n") == 1
    assert json.loads(encoded) == {"event": "segment", "text": "på\nsjön"}
    assert "på".encode() in encoded


def test_the_payload_carries_the_clients_version() -> None:
    assert gputx_remote.__version__ == gputx.__version__
