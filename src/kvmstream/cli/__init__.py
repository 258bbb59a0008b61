"""The ``kvmstream`` command; ``python -m kvmstream`` is the same. One module per subcommand.

Exit status: 0 done, 1 it could not be completed (doctor: streaming would not work), 2 a wrong request (unknown display,
unwritable file, bad value), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from kvmstream.errors import KvmStreamError

from . import (
    agent,
    bench,
    displays,
    doctor,
    encoders,
    hub,
    pair,
    record,
    screenshot,
    sources,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = (
    doctor,
    displays,
    encoders,
    screenshot,
    record,
    bench,
    hub,
    pair,
    agent,
    users,
    sources,
)

_EXAMPLES = """examples:
  kvmstream doctor                          what will be used here, and why not something better
  kvmstream record --seconds 10 out.mp4     record the primary monitor
  kvmstream screenshot out.png
  kvmstream hub                             on one machine, and with the line that it prints
  kvmstream pair 'kvmstream://…'            on each of the others, followed by
  kvmstream agent HUB
  kvmstream bench                           how fast this machine converts and encodes

`kvmstream COMMAND --help` explains each command.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Looks the version up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from kvmstream import __version__

        print(f"kvmstream {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (sys.argv without the program's name) and return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    if arguments.backend:
        os.environ["KVMSTREAM_BACKEND"] = arguments.backend
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (KvmStreamError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # Whoever read our output has left: no more of it, also not from the flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        line = " ".join(str(error).split())
        print(f"kvmstream {arguments.command}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kvmstream",
        description="See and drive computers from afar.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        summary, _, examples = (module.__doc__ or "").partition("\n\n")
        command = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=summary.rstrip("."),
            description=summary,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "--backend",
            choices=("native", "python"),
            help="use this backend or fail (default: KVMSTREAM_BACKEND, else the best one)",
        )
        command.add_argument(
            "--verbose", action="store_true", help="show the engine's log on stderr"
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
