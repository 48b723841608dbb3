"""A person's server, from up to down, in one process: ``python up_and_down.py api OPTIONS``; the options are of ``up``.

In one, so that one schedule can strike either; and each is the command itself.
"""

from __future__ import annotations

import sys

from gputx.cli.main import main


def commands(options: list[str]) -> int:
    """The exit code of the first command that fails."""
    for words in (["up", *options], ["down"]):
        sys.argv = ["gputx", "api", *words]
        if code := main():
            return code
    return 0


if __name__ == "__main__":
    sys.exit(commands(sys.argv[2:]))
