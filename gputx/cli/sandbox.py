"""``gputx sandbox``: an emulated AWS account that stays up between commands."""

from __future__ import annotations

import json
import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import click

from gputx.cli.options import debug

if TYPE_CHECKING:
    from gputx.sandbox import Account

_RULE_HELP = """
\b
  gputx sandbox rule RunInstances error=InsufficientInstanceCapacity zone=eu-north-1a

Give the sandbox a rule, or list the rules in force. A rule is one of:

\b
  [service:]Action error=CODE [status=N] [message=TEXT]  answer with this error
  [service:]Action delay=5s                              answer late
  [service:]Action drop=before|after                     cut the connection; after: once it is done
  [service:]Action signal=NAME[,NAME] pid=N at=WHEN      a signal to a client, at before|after|response
  no-user-data                                           instances boot as if given none
  pool [zone=Z] [type=T] [market=M] no-capacity          these pools have nothing to give
  interrupt any|instance=ID [after=30s] [notice=120s]    AWS takes a spot instance back
  quota spot=N | quota on-demand=N                       vCPUs of G and VT instances
  lag 500s | pending 30s | shutting-down 10s | imaging 60s   how long things take
  bucket NAME taken                                      another account has a bucket of this name

The first five also take zone=, type=, market=, instance= (which calls), times=N (how often) and skip=N
(let N through first). Names and values may hold * and ?. A rule with signal= also takes delay= and gap=0.2s,
the time between its signals; `rule list --json` shows what each call it struck found in the account.
"""


@click.group(short_help="An AWS account of your own on this machine.")
def sandbox() -> None:
    """
    \b
      gputx sandbox up

    An emulated AWS account on this machine, with no AWS account behind it. It stays up until `gputx sandbox
    down`, and every command with `--on sandbox` uses it.
    """


@sandbox.command(short_help="Start the sandbox.")
@debug
@click.option("--region", default="eu-north-1", show_default=True, help="The region with an image and a bucket.")
@click.option("--pending", default="2s", show_default=True, help="How long a new instance is pending.")
@click.option("--bare", is_flag=True, help="An account in which nobody has set anything up: try `gputx setup` on it.")
@click.option("--export", is_flag=True, help="Print shell exports that point AWS's own tools at it.")
def up(region: str, pending: str, *, bare: bool, export: bool) -> None:
    """
    \b
      gputx sandbox up

    Start the sandbox, or find the one that runs, and print its endpoint. For the AWS CLI:

    \b
      eval "$(gputx sandbox up --export)" && aws ec2 describe-instances
    """
    from gputx import sandbox as room  # noqa: PLC0415 - `--help` has no use for it
    from gputx.errors import ConfigurationError  # noqa: PLC0415 - as above
    from gputx.units import parse_duration  # noqa: PLC0415 - as above

    if bare and room.find() is not None:
        raise ConfigurationError("a sandbox is up already", hint="gputx sandbox down, then gputx sandbox up --bare")
    account = room.up(region=region, pending_seconds=parse_duration(pending), bare=bare)
    if export:
        click.echo(_exports(account))
        return
    click.echo(account.endpoint_url)
    click.echo("The sandbox is up, and stays up. End it: gputx sandbox down", err=True)
    use = "gputx setup --on sandbox" if bare else "gputx run --on sandbox FILE"
    click.echo(f"  use it:            {use}", err=True)
    click.echo('  with the AWS CLI:  eval "$(gputx sandbox up --export)"', err=True)


@sandbox.command(short_help="End the sandbox and everything in it.")
@debug
def down() -> None:
    """
    \b
      gputx sandbox down

    End the sandbox and everything that runs in it.
    """
    from gputx.sandbox import find  # noqa: PLC0415 - `--help` has no use for it

    account = find()
    if account is None:
        click.echo("no sandbox is up", err=True)
        return
    account.stop()
    click.echo("The sandbox is down; nothing of it is left running.", err=True)


@sandbox.command(short_help="Show how to reach the sandbox and what is in it.")
@debug
@click.option("--json", "as_json", is_flag=True, help="One document, with the keys and the whole account.")
def status(*, as_json: bool) -> None:
    """
    \b
      gputx sandbox status

    Show how to reach the sandbox and what is in it. Starts nothing: with no sandbox up it says so and exits
    with 1.
    """
    from gputx.sandbox import find  # noqa: PLC0415 - `--help` has no use for it

    account = find()
    if account is None:
        click.echo("no sandbox is up; start one: gputx sandbox up", err=True)
        raise click.exceptions.Exit(1)
    document = {**account.status(), "table": account.table()}
    click.echo(json.dumps(document, indent=2) if as_json else _describe(document))


@sandbox.command(short_help="Turn the sandbox's clock forward.")
@debug
@click.argument("duration")
def advance(duration: str) -> None:
    """
    \b
      gputx sandbox advance 15m

    Turn the sandbox's clock forward by DURATION: 90s, 15m, 2h or 1d. Whatever falls due happens at once.
    """
    from gputx.units import parse_duration  # noqa: PLC0415 - `--help` has no use for it

    offset = _running().advance(parse_duration(duration))
    click.echo(f"The sandbox's clock is {offset:g} s ahead.", err=True)


class _RuleGroup(click.Group):
    """Takes what is no subcommand for a rule to add: ``rule lag 500s`` is ``rule add lag 500s``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        words = args if args and args[0] in self.commands else ["add", *args]
        return super().resolve_command(ctx, words)


@sandbox.group(
    cls=_RuleGroup,
    invoke_without_command=True,
    help=_RULE_HELP,
    short_help="Add, list and remove faults and settings.",
    subcommand_metavar="[TEXT | COMMAND]",
)
@click.pass_context
def rule(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(_describe_rules(_running().rules()))


@rule.command(short_help="Put a rule in force and print its id.")
@debug
@click.argument("text", nargs=-1, required=True)
def add(text: tuple[str, ...]) -> None:
    """
    \b
      gputx sandbox rule add pool zone=eu-north-1a no-capacity

    Put a rule in force and print its id. `gputx sandbox rule --help` shows the syntax.
    """
    # One argument is a rule as a whole; of several the shell has already taken the quotes.
    click.echo(_running().add_rule(text[0] if len(text) == 1 else shlex.join(text))["id"])


@rule.command("list", short_help="List the rules in force.")
@debug
@click.option("--json", "as_json", is_flag=True, help="One document.")
def list_rules(*, as_json: bool) -> None:
    """
    \b
      gputx sandbox rule list

    List the rules in force, and how often each took effect.
    """
    rules = _running().rules()
    click.echo(json.dumps(rules, indent=2) if as_json else _describe_rules(rules))


@rule.command(short_help="Take one rule out of force.")
@debug
@click.argument("rule_id", metavar="ID")
def remove(rule_id: str) -> None:
    """
    \b
      gputx sandbox rule remove r1

    Take one rule out of force.
    """
    _running().remove_rule(rule_id)


@rule.command(short_help="Take all rules out of force.")
@debug
def clear() -> None:
    """
    \b
      gputx sandbox rule clear

    Take all rules out of force.
    """
    _running().clear_rules()


def _running() -> Account:
    from gputx.errors import ConfigurationError  # noqa: PLC0415 - `--help` has no use for it
    from gputx.sandbox import find  # noqa: PLC0415 - as above

    account = find()
    if account is None:
        raise ConfigurationError("no sandbox is up", hint="gputx sandbox up")
    return account


def _exports(account: Account) -> str:
    """Lines for a shell, after which every AWS tool it starts sees this account and no other.

    They also take back whatever in the caller's environment would lead a tool elsewhere: settings that outrank
    AWS_ENDPOINT_URL, and a real session's token or profile.
    """
    variables = {
        "AWS_ENDPOINT_URL": account.endpoint_url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_REGION": account.region,
        # boto3 and the first AWS CLI read this one only.
        "AWS_DEFAULT_REGION": account.region,
        "AWS_ACCESS_KEY_ID": account.access_key,
        "AWS_SECRET_ACCESS_KEY": account.secret_key,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    elsewhere = sorted(name for name in os.environ if re.fullmatch(r"AWS_ENDPOINT_URL_[A-Z0-9_]+", name))
    unset = ["AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", *elsewhere]
    return "\n".join([*lines, f"unset {' '.join(unset)}"])


def _describe(document: dict[str, Any]) -> str:
    table = document["table"]
    live = [instance for instance in table["instances"] if instance["live"]]
    lines = [
        f"sandbox   up, pid {document['pid']}, {len(live)} instance{'' if len(live) == 1 else 's'} live",
        f"endpoint  {document['endpoint_url']}",
        f"region    {document['region']}",
        f"account   {document['account_id']}",
        f"clock     {document['clock_offset']:g} s ahead",
        f"state     {document['state_dir']}",
    ]
    for instance in live:
        columns = ("instance_id", "state", "instance_type", "market", "zone", "public_ip")
        lines.append("instance  " + "  ".join(instance[column] for column in columns))
    lines += [f"rule      {line}" for line in _rule_lines(document["rules"])]
    return "\n".join(lines)


def _describe_rules(rules: list[dict[str, Any]]) -> str:
    return "\n".join(_rule_lines(rules)) or "no rules are in force"


def _rule_lines(rules: list[dict[str, Any]]) -> list[str]:
    return [f"{entry['id']:<4} {entry['hits']:>3} hits  {entry['text']}" for entry in rules]
