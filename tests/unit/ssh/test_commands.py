"""Commands and streams on a connection that works."""

from __future__ import annotations

import pytest

from gputx.ssh.connection import Connection
from gputx.ssh.errors import ChannelClosedError, CommandTimeoutError

from .conftest import some_bytes


def test_a_command_gives_status_and_both_outputs(connection: Connection) -> None:
    completed = connection.run("echo ut; echo fel >&2; exit 3")
    assert (completed.exit_status, completed.stdout, completed.stderr) == (3, b"ut\n", b"fel\n")


def test_a_command_killed_by_a_signal_has_status_minus_one(connection: Connection) -> None:
    assert connection.run("kill -KILL $$").exit_status == -1


def test_both_outputs_may_be_large_at_once(connection: Connection) -> None:
    completed = connection.run("head -c 3000000 /dev/zero >&2 & head -c 3000000 /dev/zero; wait")
    assert (len(completed.stdout), len(completed.stderr)) == (3_000_000, 3_000_000)


def test_input_reaches_the_command_whole(connection: Connection) -> None:
    data = some_bytes(20_000_000)
    assert connection.run("cat", input=data).stdout == data


def test_a_command_that_does_not_read_its_input_still_ends(connection: Connection) -> None:
    assert connection.run("exit 4", input=some_bytes(5_000_000)).exit_status == 4


def test_a_command_that_takes_too_long_is_given_up_and_the_connection_goes_on(connection: Connection) -> None:
    with pytest.raises(CommandTimeoutError, match=r"within 0.3 s") as caught:
        connection.run("sleep 5", timeout=0.3)
    assert caught.value.details == ("sleep 5",)
    assert connection.run("echo on").stdout == b"on\n"


def test_lines_go_both_ways_while_the_command_runs(connection: Connection) -> None:
    with connection.open_stream('while read -r x; do echo "<$x>"; echo "log $x" >&2; done; exit 5') as stream:
        lines = stream.lines()
        for word in ("hej", "åäö"):
            stream.write_line(word)
            assert next(lines) == f"<{word}>"
        assert stream.exit_status is None
        stream.close_stdin()
        assert list(lines) == []
        assert stream.wait() == 5
        assert stream.exit_status == 5
        assert stream.stderr == "log hej\nlog åäö\n"


def test_a_last_line_without_a_newline_counts(connection: Connection) -> None:
    assert list(connection.open_stream("printf 'a\\nb'").lines()) == ["a", "b"]


def test_a_long_log_keeps_its_tail_and_never_blocks_the_lines(connection: Connection) -> None:
    with connection.open_stream("head -c 2000000 /dev/zero | tr '\\0' x >&2; echo last >&2; echo done") as stream:
        assert list(stream.lines()) == ["done"]
        assert stream.wait() == 0
        assert stream.stderr.endswith("xlast\n")
        assert len(stream.stderr) == 1 << 16


def test_writing_to_a_command_that_has_ended_says_so(connection: Connection) -> None:
    with connection.open_stream("exit 0") as stream:
        assert stream.wait() == 0
        with pytest.raises(ChannelClosedError):
            stream.write_line("x" * 10_000_000)


def test_a_line_with_a_newline_is_a_mistake_of_the_caller(connection: Connection) -> None:
    with connection.open_stream("cat") as stream, pytest.raises(ValueError, match="newline"):
        stream.write_line("a\nb")
