"""List, add and change the hub's users, on the hub's machine.

examples:
  kvmstream users
  kvmstream users add anna --role admin     asks for a password; also to set a new one, which ends all that
                                            the old one and the user's tokens have opened
  kvmstream users token anna                a token, the URL for kvmstream.connect(), and a link for the browser
  kvmstream users tokens                    all tokens, by an id and never by their secret
  kvmstream users revoke 3f9c0a71d2b4       a token, by its id
  kvmstream users remove anna
"""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from ._common import add_json, print_json, print_table
from .hub import add_folder

if TYPE_CHECKING:
    import argparse

    from kvmstream.hub.store import Token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "add", "token", "tokens", "revoke", "remove"),
        default="list",
    )
    parser.add_argument("name", nargs="?", default="", help="a user, or a token's id")
    parser.add_argument("--role", choices=("admin", "control", "view"), help="what the user may do")
    parser.add_argument(
        "--address", default="", help="what to call the hub in the URL (default: found out)"
    )
    parser.add_argument("--label", default="", help="what a new token is for")
    add_folder(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from kvmstream.errors import ConfigError
    from kvmstream.hub import Hub

    if arguments.action not in ("list", "tokens") and not arguments.name:
        raise ConfigError(f"users {arguments.action} needs a NAME")
    hub = Hub(arguments.folder)
    with hub.opened():
        if arguments.action == "list":
            users = hub.store.users()
            if arguments.json:
                print_json([{"name": user.name, "role": user.role} for user in users])
            elif users:
                print_table(("NAME", "ROLE"), [(user.name, user.role) for user in users])
            else:
                print("no users yet: kvmstream users add NAME --role admin")
        elif arguments.action == "add":
            hub.store.set_user(arguments.name, arguments.role, _password())
            print(f"user {arguments.name} can log in now")
        elif arguments.action == "token":
            token = hub.store.new_token(arguments.name, arguments.label)
            url = hub.address(arguments.address).url
            console = hub.console_url(token, arguments.address)
            if arguments.json:
                print_json({"url": url, "token": token, "console": console})
            else:
                print(f"URL:     {url}\ntoken:   {token}")
                if console:
                    print(f"browser: {console}")
                print("The token is shown only now.")
        elif arguments.action == "tokens":
            _list_tokens(hub.store.tokens(arguments.name), as_json=arguments.json)
        elif arguments.action == "revoke":
            hub.store.revoke_token(arguments.name)
            print(f"token {arguments.name} counts no more")
        else:
            hub.store.remove_user(arguments.name)
            print(f"user {arguments.name} is gone")
    return 0


def _list_tokens(tokens: list[Token], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(token) for token in tokens])
    elif tokens:
        rows = [
            (
                token.id,
                token.user,
                f"{datetime.fromtimestamp(token.created).astimezone():%Y-%m-%d %H:%M}",
                token.label,
            )
            for token in tokens
        ]
        print_table(("ID", "USER", "MADE", "LABEL"), rows)
    else:
        print("no tokens: kvmstream users token NAME makes one")


def _password() -> str:
    """Typed twice at a terminal; else the first line of standard input."""
    from kvmstream.errors import ConfigError

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise ConfigError("the two passwords differ: nothing was changed")
    return first
