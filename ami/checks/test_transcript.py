"""A Swedish sample, transcribed as a run does it, without a network."""

from __future__ import annotations

import json

import pytest

from gputx.workflows.word_errors import error_rate, words

SAID = (
    "Maria är klar. Vi ser medicinen. Ordföranden kan köpa cykeln klockan sjutton. Eleverna läser journalen. "
    "Eleverna måste äta nu."
)
DECODERS = ("auto", "ctranslate2", "torch")
# Whatever of Python asks for the network ends the process.
ALONE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"the network was asked for: {event} {arguments[1:]}")
sys.addaudithook(refuse)
from gputx_remote.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", params=DECODERS)
def heard(request, host, tools):
    """What came of it, by decoder."""
    done = host.run(tools.transcribe(request.param))
    assert done.rc == 0, done.stderr[-500:]
    return json.loads(done.stdout.splitlines()[-1])


def test_text(heard, image):
    assert error_rate(words(SAID), words(heard["text"])) <= float(image.values["WER_BOUND"])


def test_model_is_loaded_in_time(heard, image):
    assert heard["ready"] <= float(image.values["LOAD_SECONDS"])


def test_first_text_comes_in_time(heard, image):
    assert heard["first"] <= float(image.values["FIRST_TEXT_SECONDS"])


def test_nothing_is_fetched_or_converted(heard):
    assert not [note for note in heard["notes"] if "download" in note or "convert" in note]


def test_device(heard, image):
    assert heard["device"] == ("cuda" if image.has_gpu else "cpu")


def test_transcribes_without_a_network(host, tools):
    wall = next((words for words in ("unshare -n", "unshare -rn") if host.run(f"{words} true").rc == 0), None)
    if wall is None:
        pytest.skip("no network namespace can be made here; no_socket_is_opened asks the same of Python")
    done = host.run(f"{wall} {tools.transcribe('auto')}")
    assert done.rc == 0, done.stderr[-500:]


def test_no_socket_is_opened(host, image, tools):
    worker = tools.command("-c", ALONE, "worker", "--model", image.model)
    done = host.run(f"{worker} </dev/null")
    assert done.rc == 0, done.stderr[-500:]
    assert '"ready"' in done.stdout
