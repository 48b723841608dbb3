"""What gputx needs of IAM is written down while the tests run, and held against the policies of ``iam/`` in the end.

Whatever part of the suite runs: nothing it needed may be missing in the operator's policy, nor in that of the command
that needed it. Where all of it ran, nothing that these policies grant may have gone unused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import iam_record
import pytest

NEEDS = "GPUTX_SANDBOX_NEEDS"
LAST = Path(__file__).parents[1] / "build" / "needs.jsonl"
"""The record of the last run of the whole suite."""

SLOW = ("chaos", "cli")
"""Directories of tests that run whole commands."""

_SECTION = "what gputx needed of IAM"


def pytest_configure(config: pytest.Config) -> None:
    """Every sandbox that is started from here on, by whatever process, writes to one file. It may be named before."""
    if NEEDS not in os.environ:
        directory = tempfile.mkdtemp(prefix="gputx-needs-")
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
        os.environ[NEEDS] = str(Path(directory) / "needs.jsonl")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first: of two processes that share the files, neither is to be left with the longest one last."""
    items.sort(key=lambda item: not any(part in item.path.parts for part in SLOW))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if hasattr(config, "workerinput"):
        return
    record = Path(os.environ[NEEDS])
    whole = _whole(config) and exitstatus == pytest.ExitCode.OK
    if whole and record.is_file():
        LAST.parent.mkdir(exist_ok=True)
        shutil.copyfile(record, LAST)
    config.stash[_COMPLAINTS] = found = iam_record.complaints(iam_record.read(record), whole=whole)
    if found and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(_COMPLAINTS, []):
        terminalreporter.section(_SECTION, red=True)
        for line in found:
            terminalreporter.line(line)
        terminalreporter.line("docs/iam.md says what to do")


def _whole(config: pytest.Config) -> bool:
    """Whether every test was asked for, but for those that only take long."""
    narrowed = ("keyword", "lf", "ff", "deselect", "ignore", "ignore_glob", "maxfail", "collectonly", "stepwise")
    asked = config.option
    return (
        config.args_source is not pytest.Config.ArgsSource.ARGS
        and asked.markexpr in {"", "not long"}
        and not any(getattr(asked, name, None) for name in narrowed)
    )


_COMPLAINTS = pytest.StashKey[list[str]]()
