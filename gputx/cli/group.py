"""The commands, each imported when it is used; and every ending turned into words and an exit code."""

from __future__ import annotations

import importlib
import sys

import click

from gputx.cli.render.words import printable
from gputx.cli.say import say, silence
from gputx.errors import ExitCode, GputxError, InterruptedBySignal

COMMANDS = {
    "run": ("gputx.cli.run", "Turn recordings into text."),
    "api": ("gputx.cli.api", "A server that people and programs send recordings to."),
    "bench": ("gputx.cli.bench", "Measure every decoder on a recording of your own."),
    "doctor": ("gputx.cli.doctor", "Check everything a run needs, and say how to mend it."),
    "ps": ("gputx.cli.ps", "List what is running, and what it has cost."),
    "reap": ("gputx.cli.reap", "End what was left behind: by tag, and by journal."),
    "setup": ("gputx.cli.setup", "Make what gputx needs in an AWS account."),
    "teardown": ("gputx.cli.setup", "Take away what setup made, and nothing else."),
    "build-ami": ("gputx.cli.build_ami", "Build and check the image that runs boot from."),
    "ami": ("gputx.cli.ami", "List images, copy them, take them away."),
    "iam": ("gputx.cli.iam", "Print the permissions gputx needs, as IAM policies."),
    "config": ("gputx.cli.config", "Show every setting and where it comes from."),
    "sandbox": ("gputx.cli.sandbox", "An emulated AWS account on this machine."),
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command is used; help needs no more than its one line."""

    # ruff: noqa: ARG002 - the arguments are click's

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gputx", message="gputx %(version)s")
def cli() -> None:
    """Swedish speech to text on a cloud GPU that exists only while it is needed.

    \b
      gputx run --on sandbox intervju.mp3     try it here, with no AWS account
      gputx run intervju.mp3                  on a spot GPU in eu-north-1

    Every command takes --help, which starts with an example.
    """


def execute() -> int:
    """Run the command line. Returns an exit code of docs/exit-codes.md; raises nothing but bugs under --debug."""
    try:
        code = cli.main(prog_name="gputx", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.ClickException as error:
        say(f"error: {printable(error.format_message())}")
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "gputx"
        say(f"  next: {where} --help")
        code = error.exit_code
    except click.Abort:
        code = ExitCode.INTERRUPTED
    except InterruptedBySignal as error:
        code = error.exit_code  # the display and the receipt have said it
    except GputxError as error:
        _explain(error)
        code = error.exit_code
    except BrokenPipeError:
        silence(sys.stdout.fileno())  # click's own output, a help page: whoever read it has gone
        code = ExitCode.FAILED
    except Exception as error:
        if _debug():
            raise
        say(f"error: gputx itself failed: {type(error).__name__}: {error}")
        say("  next: the same command with --debug shows where; please report it")
        code = ExitCode.FAILED
    return int(code or 0)


def _debug() -> bool:
    return "--debug" in sys.argv


def _explain(error: GputxError) -> None:
    """What is wrong, what was tried, what to do."""
    if _debug():
        import traceback  # noqa: PLC0415 - only wanted here

        traceback.print_exception(error)
    word = "warning" if error.exit_code is ExitCode.STILL_RUNNING else "error"
    say(f"{word}: {printable(error.message)}")
    for detail in error.details:
        say(f"  {printable(detail)}")
    if error.hint:
        say(f"  next: {printable(error.hint)}")
