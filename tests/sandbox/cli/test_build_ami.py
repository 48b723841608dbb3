"""`gputx build-ami` and `gputx ami`, with a small recipe: built, checked, found again, booted, copied, taken away."""

from __future__ import annotations

import contextlib
import signal
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builder import Builder
from product import CLIP, REFERENCES, Cli, at, signal_at, wer

CHECKS = ["passed", "passed", "passed", "passed", "not run"]
"""The small recipe's: the last one is declared to need a GPU."""


@pytest.fixture
def builder(cli: Cli) -> Iterator[Builder]:
    builder = Builder(cli.directory, cli.account)
    yield builder
    cli.account.clear_rules()
    builder("ami", "prune", "--keep", "0", "--yes", code=None)
    builder("reap", "--yes", "--all", code=None)
    cli.account.advance(60)
    assert builder.nothing_is_left


def test_an_image_is_built_checked_twice_found_again_and_booted(builder: Builder, tmp_path: Path) -> None:
    junit = tmp_path / "checks.xml"
    document = builder.build("--json", "--junit", junit).document
    image_id = document["image"]
    assert [(step["name"], step["fate"]) for step in document["steps"]] == [
        ("20-driver", "not in this profile"),
        ("10-lay-out", "done"),
        ("50-model", "done"),
        ("90-seal", "done"),
    ]
    for where in ("builder", "image"):
        assert [check["fate"] for check in document["checks"] if check["where"] == where] == CHECKS
    suites = ET.parse(junit).getroot().findall("testsuite")
    assert [(suite.get("name"), suite.get("tests")) for suite in suites] == [("builder", "5"), ("image", "5")]
    assert len(document["instances_ended"]) == 2

    row = builder.images()[image_id]
    assert row["state"] == "available"
    assert row["tags"]["gputx:recipe"] == document["recipe"]
    assert row["tags"]["gputx:contract"] == "1"
    assert "gputx:deadline" not in row["tags"]

    again = builder.build("--json").document
    assert (again["image"], again["found"], again["steps"]) == (image_id, True, [])
    assert len(builder.images()) == 1

    ran = builder("run", CLIP, "--bucket", "none")
    assert builder.account.table()["instances"][-1]["image_id"] == image_id
    assert wer(REFERENCES[CLIP.name], ran.out) < 0.3


@pytest.mark.slow
def test_other_inputs_make_another_image_and_all_are_listed_copied_and_pruned(builder: Builder) -> None:
    planned = builder.build("--dry-run")
    assert "10-lay-out  would be run" in planned.out
    assert "not in this profile: there is no GPU" in planned.out
    assert builder.images() == {}
    first = builder.build("--json").document
    builder.step("60-more", "echo more")
    second = builder.build("--json").document
    assert first["recipe"] != second["recipe"]
    old, new = first["image"], second["image"]
    assert set(builder.images()) == {old, new}

    listed = builder("ami", "list", "--json").document["images"]
    mine = [image for image in listed if image["id"] in {old, new}]
    assert [(image["id"], image["chosen"], image["unfinished"]) for image in mine] == [
        (new, True, None),
        (old, False, None),
    ]
    assert builder("ami", "show", "--json").document["image"]["id"] == new
    assert "gputx:base" in builder("ami", "show", old).out

    copied = builder("ami", "copy", new, "--to", "eu-west-1", "--json").document
    assert builder("ami", "copy", new, "--to", "eu-west-1", "--json").document == {**copied, "found": True}
    there = builder("ami", "list", "--region", "eu-west-1", "--json").document["images"]
    assert [(image["id"], image["chosen"]) for image in there] == [(copied["image"], True)]

    rehearsed = builder("ami", "prune", "--keep", "1", "--dry-run", "--json").document
    assert (rehearsed["due"], rehearsed["gone"], rehearsed["kept"]) == ([old], [], [new])
    assert builder("ami", "prune", "--keep", "1", code=2).err.startswith("error: there is nobody to ask")
    assert builder("ami", "prune", "--keep", "1", "--yes", "--json").document["gone"] == [old]
    assert builder("ami", "prune", "--keep", "0", "--yes", "--region", "eu-west-1", "--json").document["gone"] == [
        copied["image"]
    ]
    assert set(builder.images()) == {new}
    assert len(builder.snapshots()) == 1


def test_what_gputx_did_not_build_is_never_pruned(builder: Builder) -> None:
    furnished = {row["image_id"] for row in builder.account.table()["images"]}
    assert "nothing to take away" in builder("ami", "prune", "--keep", "0", "--yes").out
    assert {row["image_id"] for row in builder.account.table()["images"]} == furnished


def test_a_step_that_fails_says_why_and_leaves_nothing(builder: Builder) -> None:
    builder.step("60-broken", "echo getting there", "echo '60-broken: it is broken' >&2", "exit 7")
    ended = builder.build(code=1)
    assert "error: step 60-broken failed: 60-broken: it is broken" in ended.err, ended.err
    assert "60-broken | getting there" in ended.err
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_mirror_that_is_down_is_asked_again(builder: Builder) -> None:
    builder.step(
        "60-mirror",
        "[ -e /var/tmp/again ] && { echo there it is; exit 0; }",
        "touch /var/tmp/again",
        "echo '60-mirror: no answer from the mirror' >&2",
        "exit 10",
    )
    ended = builder.watch(
        *("build-ami", "--recipe", "small", "--json"), on=at("60-mirror: ", lambda _: builder.account.advance(10))
    )
    assert ended.code == 0, ended.err
    assert "can't be reached: 60-mirror: no answer from the mirror; again in 10 s" in ended.err
    assert ended.document["image"] in builder.images()


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (11, "the disk is full"),
        pytest.param(12, "not what was pinned", marks=pytest.mark.long),
        pytest.param(13, "not what the profile is for", marks=pytest.mark.long),
        pytest.param(14, "is missing", marks=pytest.mark.long),
    ],
)
def test_each_way_that_a_step_can_fail_has_its_words(builder: Builder, status: int, what: str) -> None:
    builder.step("05-fails", "echo '05-fails: its own words' >&2", f"exit {status}")
    ended = builder.build(code=1)
    assert what in ended.err
    assert "its own words" in ended.err
    assert builder.nothing_is_left


@pytest.mark.parametrize("where", ["builder", "image"])
@pytest.mark.slow
def test_a_check_that_fails_means_no_image(builder: Builder, where: str) -> None:
    builder.step("85-spoil", f"touch /var/tmp/spoiled-on-{where}")
    ended = builder.build("--json", code=1)
    assert f"because checks failed on the {where}: 3 passed, 1 not run, 1 failed on the {where}" in ended.err
    assert "test_nothing_forbids_an_image" in ended.err
    document = ended.document
    assert document["image"] is None
    assert len([check for check in document["checks"] if check["fate"] == "failed"]) == 1
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_builder_that_failed_is_kept_and_gone_on_with(builder: Builder) -> None:
    builder.step("60-broken", "[ -e /var/tmp/mended ] || exit 7")
    assert "there is no builder" in builder.build("--resume", code=2).err
    kept = builder.build("--keep-on-failure", "30m", "--json", code=1).document["kept"]
    instance = builder.account.table()["instances"][-1]
    assert (instance["instance_id"], instance["state"]) == (kept["instance"], "running")
    # Nobody is heard of for longer than any grace, and another command comes by: it stays.
    builder.account.advance(900)
    builder("run", CLIP, "--bucket", "none")
    assert "a builder kept until" in builder("reap", "--dry-run").out
    still = {row["instance_id"]: row["state"] for row in builder.account.table()["instances"]}
    assert still[kept["instance"]] == "running"

    # The same recipe goes on where it broke; what was mended was the machine.
    resumed = builder.watch(
        *("build-ami", "--recipe", "small", "--resume", "--json"),
        on=at("sending the recipe", lambda _: None),
    )
    assert resumed.code == 1
    assert [(step["name"], step["fate"]) for step in resumed.document["steps"][1:]] == [
        ("10-lay-out", "done before"),
        ("50-model", "done before"),
    ]
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_kept_builder_ends_when_its_time_is_over(builder: Builder) -> None:
    builder.step("60-broken", "exit 7")
    kept = builder.build("--keep-on-failure", "20m", "--json", code=1).document["kept"]
    builder.account.advance(1500)
    states = {row["instance_id"]: row["state"] for row in builder.account.table()["instances"]}
    assert states[kept["instance"]] == "terminated"
    builder("reap", "--yes")
    assert not [row for row in builder.account.table()["key_pairs"] if row["name"].startswith("gputx-")]


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("step 50-model", marks=pytest.mark.long),
        pytest.param("checking: builder", marks=pytest.mark.long),
        "making the image",
        pytest.param("checking: image", marks=pytest.mark.long),
    ],
)
def test_ctrl_c_anywhere_ends_it_all(builder: Builder, moment: str) -> None:
    ended = builder.watch("build-ami", "--recipe", "small", on=signal_at(moment, signal.SIGINT))
    assert ended.code == 130
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_crash_in_the_middle_of_the_image_is_undone_by_the_next_command(builder: Builder) -> None:
    process = builder.start("build-ami", "--recipe", "small")
    builder.account.add_rule(f"CreateImage signal=KILL pid={process.pid} at=after times=1")
    process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL
    (half,) = builder.images()
    builder("run", CLIP, "--bucket", "none")
    assert builder.account.table()["instances"][-1]["image_id"] != half
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_crash_after_the_last_step_has_left_a_finished_image(builder: Builder) -> None:
    process = builder.start("build-ami", "--recipe", "small")
    builder.account.add_rule(f"DeleteTags signal=KILL pid={process.pid} at=after times=1")
    process.communicate(timeout=200)
    (image,) = builder.images()
    assert "nothing is left over" in builder("reap", "--yes").out
    assert builder.build("--json").document["image"] == image


@pytest.mark.slow
def test_an_image_whose_answer_was_lost_is_found_and_not_made_twice(builder: Builder) -> None:
    builder.account.add_rule("CreateImage drop=after times=1")
    document = builder.build("--json").document
    assert list(builder.images()) == [document["image"]]
    assert len(builder.snapshots()) == 1


@pytest.mark.slow
def test_the_account_refuses_an_image(builder: Builder) -> None:
    builder.account.add_rule("CreateImage error=AMIQuotaExceeded")
    ended = builder.build(code=4)
    assert "AMIQuotaExceeded" in ended.err
    assert "gputx ami prune" in ended.err
    assert builder.nothing_is_left


def test_no_capacity_is_told_and_costs_nothing(builder: Builder) -> None:
    builder.account.add_rule("pool no-capacity")
    ended = builder.build(code=4)
    assert "no pool had capacity" in ended.err
    assert builder.nothing_is_left


@pytest.mark.slow
def test_a_builder_that_spot_takes_away_is_replaced_once(builder: Builder) -> None:
    builder.step("60-slow", "sleep 4")

    def interrupt(_: object) -> None:
        newest = builder.account.table()["instances"][-1]["instance_id"]
        builder.account.add_rule(f"interrupt instance={newest} after=0s notice=0s")

    ended = builder.watch("build-ami", "--recipe", "small", "--json", on=at("step 60-slow", interrupt))
    assert ended.code == 0, ended.err
    assert "starting again in another pool" in ended.err
    assert ended.document["image"] in builder.images()
    launched = [row["zone"] for row in builder.account.table()["instances"]][-3:]
    assert launched[0] != launched[1], "another pool"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--base", "ami-0123456789abcdef0"), 3, "there is no base image ami-0123456789abcdef0"),
        (("--base", "ssm:/aws/service/canonical/ubuntu/server/99.04/none"), 3, "names no base image"),
        (("--instance-type", "m7g.large"), 2, "is a machine for arm64"),
        (("--instance-type", "nosuch.large"), 2, "is not offered in"),
        (("--recipe", "nosuch"), 2, "there is no profile 'nosuch'"),
        (("--keep-on-failure", "3d"), 2, "--keep-on-failure can't be 3d"),
        (("--resume", "--force"), 2, "one of the two"),
        (("--on", "local"), 2, "an image is made of an instance"),
    ],
)
def test_what_can_not_be_is_told_before_anything_is_launched(
    builder: Builder, arguments: tuple[str, ...], code: int, says: str
) -> None:
    before = len(builder.account.table()["instances"])
    ended = builder.build(*arguments, code=code)
    assert says in ended.err
    assert len(builder.account.table()["instances"]) == before


def test_a_recipe_for_a_gpu_wants_one(builder: Builder) -> None:
    ended = builder("build-ami", "--recipe", "gpu", "--instance-type", "m7i.large", code=2)
    assert "has no NVIDIA GPU" in ended.err


@pytest.mark.slow
def test_an_image_that_stays_pending_is_given_up(builder: Builder) -> None:
    # Less than the builder's grace: a clock that is turned is ahead of heartbeats.
    builder.environ["SMALL_IMAGING"] = "300"
    builder.account.add_rule("imaging 7200s")
    asked = threading.Event()
    with _turning_the_clock(builder, asked):
        ended = builder.watch("build-ami", "--recipe", "small", on=at("making the image", lambda _: asked.set()))
    assert ended.code == 1, ended.err
    assert "still pending after 5 min" in ended.err
    assert builder.nothing_is_left


@contextlib.contextmanager
def _turning_the_clock(builder: Builder, asked: threading.Event) -> Iterator[None]:
    """By half a minute at a time from ``asked`` on, up to what it takes."""
    over = threading.Event()

    def turn() -> None:
        asked.wait(120)
        for _ in range(11):
            builder.account.advance(30)
            if over.wait(0.3):
                return

    with ThreadPoolExecutor(1) as aside:
        turned = aside.submit(turn)
        try:
            yield
        finally:
            over.set()
            asked.set()
            turned.result()
