"""``python payload.pyz worker|serve|attach|engines|api``: see docs/contracts.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gputx_remote import ending
from gputx_remote.engine.choice import ALGORITHMS, COMPUTE_TYPES, DECODERS, Choice
from gputx_remote.server import arguments as api


def parser() -> argparse.ArgumentParser:
    """The command line of the payload."""
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", required=True, help="a directory or a Hugging Face id")
    model.add_argument("--model-name", help="what events call the model")
    model.add_argument("--revision", help="the commit hash to use, or to record for a directory")
    model.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    model.add_argument("--batch-size", type=_positive, help="windows at once")
    model.add_argument("--algorithm", choices=ALGORITHMS, default="auto")
    model.add_argument("--decoder", choices=DECODERS, default="auto")
    model.add_argument("--compute-type", choices=COMPUTE_TYPES, default="auto")
    served = argparse.ArgumentParser(add_help=False)
    served.add_argument("--socket", type=Path, required=True, help="the Unix socket")

    whole = argparse.ArgumentParser(prog="gputx_remote", description="Speech to text, as JSON Lines.")
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("worker", parents=[model], help="commands on stdin, events on stdout")
    commands.add_parser("serve", parents=[model, served], help="the same behind a socket")
    commands.add_parser("attach", parents=[model, served], help="talk to a served worker, or be one")
    api.add(commands.add_parser("api", parents=[model], help="an HTTP server: docs/server.md"))
    engines = commands.add_parser("engines", help="what can run here, as one event")
    engines.add_argument("--model", type=Path, help="the directory of a model; the default may depend on its size")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = parser().parse_args(arguments)
    ending.install()

    # After the handlers, so that a signal during imports ends it as cleanly as one later.
    from gputx_remote import worker  # noqa: PLC0415

    if options.command == "engines":
        worker.say_engines(worker.stdout_events(), options.model)
        return 0

    model = worker.ModelOptions(
        options.model,
        options.model_name,
        options.revision,
        options.device,
        options.batch_size,
        Choice(options.algorithm, options.decoder, options.compute_type),
    )
    match options.command:
        case "serve":
            from gputx_remote import serve  # noqa: PLC0415 - each command pays for itself alone

            return serve.run(model, options.socket)
        case "attach":
            from gputx_remote import attach  # noqa: PLC0415

            return attach.run(model, options.socket)
        case "api":
            try:
                from gputx_remote.server import run  # noqa: PLC0415
            except ModuleNotFoundError as error:
                missing = f"the server needs {error.name}, which is not installed here"
                print(f"error: {missing}: pip install 'gputx[server]'", file=sys.stderr)
                return 3
            return run.run(model, options)
        case _:
            return worker.run(model, sys.stdin.buffer, worker.stdout_events())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
