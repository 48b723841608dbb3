"""From an empty account to a first transcript and back to an empty account, as README.md has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bare import EMAIL, parts
from builder import Builder
from product import CLIP, REFERENCES, Cli, wer

from gputx import sandbox

KINDS = ("images", "snapshots", "instances", "key_pairs", "security_groups", "schedules", "volumes")


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Account]:
    account = sandbox.up(tmp_path_factory.mktemp("bare"), pending_seconds=0.3, linger=False, bare=True)
    yield account
    account.stop()


def ours(cli: Cli) -> dict[str, list[Any]]:
    """What carries a tag of gputx in the account's own table; of instances those that have not terminated."""
    table = cli.account.table()
    found = {kind: [row for row in table.get(kind, []) if "gputx:run" in (row.get("tags") or {})] for kind in KINDS}
    found["instances"] = [row for row in found["instances"] if row["state"] != "terminated"]
    return {kind: rows for kind, rows in found.items() if rows}


@pytest.mark.parametrize("recipe", ["small", pytest.param("cpu", marks=pytest.mark.long)])
@pytest.mark.slow
def test_an_empty_account_a_transcript_and_an_empty_account(cli: Cli, recipe: str) -> None:
    """``small`` has the steps of the tests; ``cpu`` is what a person gets with ``--on sandbox``, and all its checks."""
    cli = Builder(cli.directory, cli.account) if recipe == "small" else cli
    assert (parts(cli), ours(cli)) == ({}, {})
    cli("setup", "--yes", "--email", EMAIL)
    assert "1 failed" in cli("doctor", code=3).out, "there is no image yet"

    built = cli("build-ami", "--recipe", recipe, "--json", timeout=400).document
    assert not [check for check in built["checks"] if check["fate"] == "failed"]
    assert {check["where"] for check in built["checks"]} == {"builder", "image"}
    assert "failed" not in cli("doctor").out
    ran = cli("run", CLIP)
    assert wer(REFERENCES[CLIP.name], ran.out) < 0.3
    assert cli.account.table()["instances"][-1]["image_id"] == built["image"]

    cli.account.advance(120)
    cli("ami", "prune", "--keep", "0", "--yes")
    cli("teardown", "--yes", "--with-results")
    assert (parts(cli), ours(cli)) == ({}, {})
