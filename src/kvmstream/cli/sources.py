"""List, rename and revoke the hub's sources, on the hub's machine.

examples:
  kvmstream sources
  kvmstream sources rename office-pc reception
  kvmstream sources revoke reception        its credential counts no more; it has to pair again
  kvmstream sources clipboard kiosk none    or both, to_source, from_source: which way its clipboard texts go
  kvmstream sources audit                   who controlled what when
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from ._common import add_json, print_json, print_table
from .hub import add_folder

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "rename", "revoke", "forget", "clipboard", "audit"),
        default="list",
    )
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("new", nargs="?", default="", metavar="NEW")
    add_folder(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from kvmstream.errors import ConfigError
    from kvmstream.hub import Hub

    action = arguments.action
    if action in ("rename", "revoke", "forget", "clipboard") and not arguments.name:
        raise ConfigError(f"sources {action} needs a NAME")
    hub = Hub(arguments.folder)
    with hub.opened():
        store = hub.store
        if action == "rename":
            store.rename(arguments.name, arguments.new)
        elif action == "revoke":
            store.revoke(arguments.name)
        elif action == "forget":
            store.forget(arguments.name)
        elif action == "clipboard":
            store.set_clipboard(arguments.name, arguments.new)
        elif action == "audit":
            entries = store.audit()
            if arguments.json:
                print_json([asdict(entry) for entry in entries])
            else:
                rows = [(_when(e.at), e.who or "(command line)", e.what, e.source) for e in entries]
                print_table(("WHEN", "WHO", "WHAT", "SOURCE"), rows)
        else:
            records = store.sources()
            if arguments.json:
                print_json(
                    [{key: v for key, v in asdict(r).items() if key != "identity"} for r in records]
                )
            elif records:
                table = [
                    (
                        r.name,
                        _when(r.seen) if r.seen else "never",
                        r.clipboard,
                        "revoked" if r.revoked else "",
                    )
                    for r in records
                ]
                print_table(("NAME", "LAST SEEN", "CLIPBOARD", ""), table)
            else:
                print("no sources yet: kvmstream hub --pair prints a line for one")
    return 0


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
