"""A server from ``up`` to ``down``: found again, used by many, killed, upgraded, interrupted, idle; nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from api_results import RESULTS, UNKNOWN_PROFILE, another_s_name_is_not_its_own, started_with, stored_as_told
from api_server import SHORT_TEXT, answers, held, kill_server, server_pids, turn, until
from bare import EMAIL
from product import CLIP, HELD_OUT, REFERENCES, Cli, at, ended_itself, instance, leftovers, wer

from gputx import sandbox
from gputx.aws.tags import DEADLINE

CLIPS = (CLIP, HELD_OUT / "clip03.flac")
LONG_TEXT = json.loads((HELD_OUT / "long3min.json").read_text(encoding="utf-8"))["text"]
NONE_UP = "no server is up; gputx api up\n"


@pytest.fixture
def down(cli: Cli) -> Iterator[None]:
    """Whatever becomes of the test, its server ends."""
    yield
    cli.account.clear_rules()
    cli("api", "down")
    cli.account.advance(5)


@pytest.fixture
def cli_set_up(tmp_path: Path) -> Iterator[Cli]:
    """An account of its own, in which `gputx setup` has been."""
    account = sandbox.up(tmp_path / "sandbox", pending_seconds=0.3, shutting_down_seconds=1.0, linger=False)
    directory = tmp_path / "work"
    (directory / "home").mkdir(parents=True)
    cli = Cli(directory, account)
    cli("setup", "--yes", "--email", EMAIL)
    yield cli
    account.stop()


def test_from_up_to_down_no_request_is_lost(cli_set_up: Cli) -> None:
    """Twenty requests, the process killed, up again with another idle time, runs that use it; idle, and gone.

    What the jobs came to is in the bucket as well, and is read there by whoever has the address.
    """
    cli = cli_set_up
    cli.account.add_rule(UNKNOWN_PROFILE)
    up = cli("api", "up", "--json")
    first = up.document
    assert (first["found"], first["server"]["results"]) == (False, RESULTS)
    assert "texts stay on the server" not in up.err
    there = instance(cli)
    assert (there["tags"]["Name"], there["tags"]["Purpose"]) == ("transcription-api", "api")
    assert there["market"] == "on-demand"
    assert there["tags"][DEADLINE]

    with held(cli) as way, ThreadPoolExecutor(20) as together:
        jobs = [together.submit(way.ask, params={"async": "1"}) for _ in range(20)]
        made = [job.result() for job in jobs]
        assert {answer.status_code for answer in made} == {202}
        kill_server(cli)  # with a queue
        until(lambda: answers(way), "the server was not started again")
        # Started anew under another idle time, as it would be with another gputx: it keeps what is queued.
        # Where texts go, too, whatever the bucket of the moment: its machine has the role that it has.
        again = cli("api", "up", "--idle-timeout", "10m", "--bucket", "none", "--json").document
        assert (again["found"], again["upgraded"], again["server"]["results"]) == (True, True, RESULTS)
        assert again["server"]["instance_id"] == first["server"]["instance_id"]
        texts = []
        for answer in made:
            url = answer.headers["Location"]
            until(lambda url=url: way.client.get(url).json()["state"] == "done", f"{url} was lost")
            texts.append(way.client.get(f"{url}/result", params={"format": "txt"}).text)
        assert max(wer(SHORT_TEXT, text) for text in texts) <= 0.10
        assert f"--results {RESULTS} --region {cli.account.region}" in started_with(cli)
        until(lambda: bool(way.client.get(url).json()["stored"]), "its text is not in the bucket")
        told = way.client.get(url).json()
        another_s_name_is_not_its_own(cli, told["stored"]["txt"], stored_as_told(cli, told, texts[-1]))

        used_by_address(cli, way.urls[0])
        # Use keeps it, whatever its idle time; its keeper sees that within 20 s.
        turn(cli, 8)
        assert way.ask().status_code == 200
        turn(cli, 8)
        assert instance(cli)["state"] == "running"
        assert way.ask().status_code == 200
    used_by_auto(cli)
    seen_from_another_machine(cli)
    status = cli("api", "status", "--json").document["servers"][0]
    assert (status["state"], status["queued_seconds"], status["idle_timeout"]) == ("healthy", 0, 600)
    assert "request" in cli("api", "logs", "-n", "20").out
    assert "an API server that is to run" in cli("reap", "--yes").out

    # Idle, it ends by itself, and the next command that looks takes away its key, its group, its schedule.
    ended_itself(cli, within_minutes=12)
    assert leftovers(cli.account.table())
    assert "ended what earlier runs left" in cli("ps").err
    assert not leftovers(cli.account.table())
    assert cli("api", "status", code=1).out == NONE_UP


def seen_from_another_machine(cli: Cli) -> None:
    """Its keys are not there, and it is not doubled either."""
    before = len(cli.account.table()["instances"])
    cli.environ["GPUTX_STATE_DIR"] = str(cli.directory / "another")
    refused = cli("api", "up", code=1)
    assert "brought up from another machine" in refused.err
    assert "no server is known here" in cli("api", "url", code=1).err
    not_ended = cli("api", "down", code=1)
    assert "brought up from another machine, and still runs" in not_ended.err
    assert "gputx reap --run" in not_ended.err
    assert "brought up from another machine" in cli("api", "status", code=1).err
    del cli.environ["GPUTX_STATE_DIR"]
    assert len(cli.account.table()["instances"]) == before


def used_by_address(cli: Cli, url: str) -> None:
    """``--on URL``: of several the one that answers, as gputx's own and as OpenAI's."""
    cli.environ["GPUTX_TOKEN"] = cli("api", "token").out.strip()
    both = cli("run", "--on", f"{url},http://127.0.0.1:9", CLIP)  # nothing listens at the second
    assert wer(REFERENCES[CLIP.name], both.out) <= 0.10
    through_openai = cli("run", "--on", f"{url}/v1", CLIP)
    assert wer(REFERENCES[CLIP.name], through_openai.out) <= 0.10
    cli.environ["GPUTX_TOKEN"] = "not the token, by no means"
    assert "does not accept the token" in cli("run", "--on", url, CLIP, code=3).err
    assert "a server takes no --vad-threshold" in cli("run", "--on", url, CLIP, "--vad-threshold", "0.4", code=2).err
    del cli.environ["GPUTX_TOKEN"]


def used_by_auto(cli: Cli) -> None:
    """``--on auto`` launches nothing where a server is up."""
    before = len(cli.account.table()["instances"])
    cli.environ["GPUTX_AUTO"] = "api,sandbox"
    ended = cli("run", "--on", "auto", *CLIPS, "--json", "-f", "srt", "--word-timestamps")
    assert len(cli.account.table()["instances"]) == before
    assert ended.document["run"]["on"] == "api"
    for file in ended.document["files"]:
        assert wer(REFERENCES[file["input"].rpartition("/")[2]], file["text"]) <= 0.10
        assert file["segments"][0]["words"]
    assert "nothing was launched" in ended.err


@pytest.mark.usefixtures("down")
def test_a_run_that_loses_its_spot_server_has_its_text_from_the_next(cli: Cli) -> None:
    up = cli("api", "up", "--market", "spot")
    # Nobody has set this account up. One line, and it is a server all the same.
    (line,) = [line for line in up.err.splitlines() if "texts stay on the server" in line]
    assert "no instance profile transcription-ec2-role; gputx setup makes it" in line
    lost = instance(cli)["instance_id"]
    token = cli("api", "token").out
    cli.environ["GPUTX_AUTO"] = "api,sandbox"

    def take(_process: object) -> None:
        cli.account.add_rule(f"interrupt instance={lost} after=0s notice=0s")

    ended = cli.watch("run", "--on", "auto", HELD_OUT / "long3min.flac", on=at("transcribing", take))

    assert ended.code == 0, ended.err
    assert "bringing up another in its place" in ended.err
    assert wer(LONG_TEXT, ended.out) <= 0.15
    assert instance(cli)["instance_id"] != lost
    assert instance(cli)["market"] == "spot"
    assert cli("api", "token").out == token
    assert cli("api", "down", "--json").document["ended"] == [instance(cli)["instance_id"]]


@pytest.mark.long
@pytest.mark.usefixtures("down")
def test_a_spot_server_takes_nothing_new_once_it_is_warned_and_a_tunnel_outlives_it(cli: Cli) -> None:
    cli("api", "up", "--market", "spot")
    lost = instance(cli)
    with held(cli) as way:
        assert way.ask(params={"async": "1"}).status_code == 202
        cli.account.add_rule(f"interrupt instance={lost['instance_id']} after=0s")
        cli.account.advance(30)
        until(lambda: way.ask().status_code == 503 or not server_pids(cli), "it goes on as if nothing had been said")
        cli.account.advance(120)
        until(lambda: instance(cli)["instance_id"] != lost["instance_id"], "it was not replaced")
        until(lambda: len(way.urls) > 1, "no way to the new one")
        assert way.urls[1] == way.urls[0]
        assert way.ask().status_code == 200  # the same port and the same token
    assert instance(cli)["market"] == "spot"


@pytest.mark.long
@pytest.mark.usefixtures("down")
def test_its_deadline_holds_however_much_it_is_used(cli: Cli) -> None:
    document = cli("api", "up", "--max-lifetime", "30m", "--json").document
    assert document["server"]["deadline"] - cli.account.clock.time() <= 30 * 60
    with held(cli) as way:
        for _ in range(4):
            turn(cli, 6)
            assert way.ask().status_code == 200
    ended_itself(cli, within_minutes=8)


def test_auto_goes_on_to_what_there_is(cli: Cli) -> None:
    cli.environ["GPUTX_AUTO"] = "api,sandbox"
    ended = cli("run", "--on", "auto", CLIP, "--bucket", "none")
    assert "--on auto: sandbox (api: none was brought up from here)" in ended.err
    assert "seen shutting-down" in ended.err
    cli.environ["GPUTX_AUTO"] = "api"
    assert "--on auto found no place to work" in cli("run", "--on", "auto", CLIP, code=3).err


@pytest.mark.usefixtures("down")
def test_ctrl_c_while_it_comes_up_leaves_nothing(cli: Cli) -> None:
    def stop(process: subprocess.Popen[str]) -> None:
        cli.account.advance(80)  # as long as a real boot takes: the account hears a sign of life
        until(lambda: "gputx:heartbeat" in instance(cli)["tags"], "no sign of life")
        process.send_signal(signal.SIGINT)

    ended = cli.watch("api", "up", on=at("installing the server", stop))
    assert ended.code == 130, ended.err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}
    assert cli("api", "status", code=1).out == NONE_UP


@pytest.mark.usefixtures("down")
def test_a_client_killed_while_it_comes_up_leaves_nothing_for_long(cli: Cli) -> None:
    cli.watch("api", "up", on=at("waiting for the server", lambda p: p.send_signal(signal.SIGKILL)))
    # The server comes up all the same, and nobody keeps it: the watchdog's grace is all it has.
    ended_itself(cli, within_minutes=12)
    cli("ps")
    assert not leftovers(cli.account.table())


@pytest.mark.long
@pytest.mark.usefixtures("down")
def test_a_server_that_can_not_start_says_why_and_goes(cli: Cli) -> None:
    ended = cli("api", "up", "--model", "gputx/no-such-model", code=None)
    assert ended.code in {1, 3}
    assert "the server ended" in ended.err
    assert "no-such-model" in ended.err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}


def test_commands_without_a_server_say_so(cli: Cli) -> None:
    assert "no server is known here" in cli("api", "tunnel", code=1).err
    assert cli("api", "down").out == "no server was up\n"
    assert "--on https://example.org names no account" in cli("ps", "--on", "https://example.org", code=3).err
    assert "--public opens the server to address ranges" in cli("api", "up", "--public", code=2).err
