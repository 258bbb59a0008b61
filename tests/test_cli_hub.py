"""hub, pair, agent, users and sources as people start them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from house import house, python

import kvmstream

__all__ = ["house"]  # a fixture


@contextlib.contextmanager
def running(*arguments):
    """A command in the background; its standard output is `.lines(until)`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kvmstream", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        process.stdout.close()


def read_until(process, pattern, seconds=20):
    """What it has printed up to a match."""
    text, deadline = "", time.monotonic() + seconds
    descriptor = process.stdout.fileno()
    while not (found := re.search(pattern, text)):
        left = deadline - time.monotonic()
        assert left > 0, f"no {pattern!r} within {seconds} s in {text!r}"
        if select.select([descriptor], [], [], left)[0]:
            data = os.read(descriptor, 65536).decode()
            assert data, f"it ended; no {pattern!r} in {text!r}"
            text += data
    return found


def free_ports():
    """Two that nobody listens on now."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def test_from_nothing_to_a_picture(house, screen, tmp_path) -> None:
    """What README's section "From afar" says, command by command."""
    control, video = map(str, free_ports())
    ports = ("--port", control, "--video-port", video)
    web = ("--web-port", str(free_ports()[0]))
    added = python("users", "add", "anna", "--role", "control", input="long enough\n")
    assert (added.returncode, added.stdout) == (0, "user anna can log in now\n")
    with running("hub", "--host", "127.0.0.1", "--address", "127.0.0.1", *ports, *web) as hub:
        line = read_until(hub, r"kvmstream pair '([^']+)'")[1]
        paired = python("pair", line, "--name", "office-pc")
        assert paired.returncode == 0, paired.stderr
        assert f"kvmstream agent 127.0.0.1 --port {control} --video-port {video}" in paired.stdout
        with running("agent", "127.0.0.1", *ports, "--display", screen.display) as agent:
            read_until(agent, "connected")
            made = json.loads(
                python("users", "token", "anna", "--address", "127.0.0.1", "--json").stdout
            )
            assert f":{control}?video={video}&" in made["url"]

            async def look() -> tuple[int, ...]:
                async with kvmstream.connect(made["url"], token=made["token"]) as remote:
                    return (await remote.sources["office-pc"].screenshot()).shape

            assert asyncio.run(look()) == (480, 640, 3)
            listed = json.loads(python("sources", "--json").stdout)
            assert [source["name"] for source in listed] == ["office-pc"]
            assert python("sources", "revoke", "office-pc").returncode == 0
            read_until(agent, "refused: .*revoked")
    assert "paired" in python("sources", "audit").stdout


def test_tokens_are_listed_and_revoked(house) -> None:
    assert python("users", "tokens").stdout.startswith("no tokens")
    python("users", "add", "anna", "--role", "control", input="long enough\n")
    made = json.loads(python("users", "token", "anna", "--label", "backup", "--json").stdout)
    listed = python("users", "tokens")
    assert listed.returncode == 0
    assert made["token"] not in listed.stdout
    assert "backup" in listed.stdout
    assert json.loads(python("users", "tokens", "nobody", "--json").stdout) == []
    (token,) = json.loads(python("users", "tokens", "anna", "--json").stdout)
    assert (token["user"], token["label"]) == ("anna", "backup")
    assert "no token 'nonsense'" in python("users", "revoke", "nonsense").stderr
    assert python("users", "revoke", token["id"]).returncode == 0
    assert json.loads(python("users", "tokens", "--json").stdout) == []


def test_pairing_line_beside_a_running_hub(house) -> None:
    printed = python("hub", "--pair", "--address", "hub.example")
    assert printed.returncode == 0
    line = (
        r"kvmstream pair 'kvmstream://hub\.example:8080\?video=8081&fingerprint=[0-9a-f]{64}&code="
    )
    assert re.search(line, printed.stdout)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("agent", "127.0.0.1"), "is not paired with a hub"),
        (("agent", "127.0.0.1", "--port", "0"), "must be 1 to 65535"),
        (("agent", "127.0.0.1", "--fps", "0"), "fps"),
        (("pair", "nonsense"), "no whole pairing line"),
        (("users", "add"), "needs a NAME"),
        (("users", "remove", "nobody"), "no user 'nobody'"),
        (("sources", "revoke", "attic"), "no source 'attic'"),
        (("hub", "--folder", "/dev/null"), "/dev/null"),
    ],
)
def test_mistakes_are_one_line_and_status_2(house, arguments: tuple[str, ...], what: str) -> None:
    result = python(*arguments)
    assert result.returncode == 2
    assert what in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_short_password_changes_nothing(house) -> None:
    result = python("users", "add", "anna", input="short\n")
    assert result.returncode == 2
    assert "8 to 1024" in result.stderr
    assert "no users yet" in python("users").stdout


def test_install_writes_a_unit_that_systemd_understands(house, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            from kvmstream.agent import pair

            await asyncio.to_thread(pair, str(it.hub.pairing_line("127.0.0.1")), "office-pc")
            result = await asyncio.to_thread(
                python,
                "agent",
                "127.0.0.1",
                "--port",
                str(it.hub.control_port),
                "--view-only",
                "--install",
            )
            assert result.returncode == 0, result.stderr

    asyncio.run(main())
    path = tmp_path / "config" / "systemd" / "user" / "kvmstream-agent.service"
    unit = path.read_text()
    assert "--view-only" in unit
    assert "Restart=always" in unit
    assert "kvmstream agent 127.0.0.1" in unit
    assert "secret" not in unit
    if shutil.which("systemd-analyze") is not None:
        # It complains of what it does not understand, but ends with 0 for some of it.
        found = subprocess.run(
            ["systemd-analyze", "verify", "--user", path],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (
            found.returncode,
            [line for line in found.stderr.splitlines() if path.name in line],
        ) == (0, [])
