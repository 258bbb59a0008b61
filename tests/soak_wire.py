"""Garbage, truncation, floods, slow-loris and oversize against a real hub; a good viewer goes on meanwhile.

    python tests/soak_wire.py MINUTES

Strangers, and viewers and agents with real credentials: garbage on both of their connections, and floods of thousands
of messages from peers that never read. Fails when the hub's process ends or hangs, when the good viewer gets less than
95 % of the pictures, waits half a second for one, or has to begin anew at a keyframe, and when memory, descriptors or
threads grow. Mutates what the protocol's own messages look like, so that it gets past the first bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import psutil

import kvmstream
import kvmstream.agent
from kvmstream.wire import limits
from kvmstream.wire import messages as m
from kvmstream.wire.address import PairingLine
from kvmstream.wire.connection import dial
from kvmstream.wire.video import ACK, THUMBNAIL, UNIT, VideoHeader

PORTS = {"--port": 28080, "--video-port": 28081, "--web-port": 28443}
GREETING = b"KVMSTRM" + bytes([limits.VERSION])
GOOD = "office-pc"
ATTACKERS = 8
FPS = 20
FLOOD = 20_000  # messages
RECEIVE_BYTES = 8 << 10  # of the kernel, for who does not read


def framed(message: m.AnyMessage) -> bytes:
    body = m.encode(message)
    return struct.pack("!I", len(body)) + body


def from_strangers(token: str) -> list[bytes]:
    messages = [m.Pair("AAAA-AAAA-AAAA", "pc"), m.AgentHello("i", "s", "n"), m.ViewerHello(token),
                m.VideoHello("guess"), m.Ping(1), m.Welcome("x"), m.Refused("no")]  # fmt: skip
    return [framed(message) for message in messages]


def from_viewers(source: str) -> list[bytes]:
    messages = [
        m.Ping(1), m.Pong(1, 2, 3), m.Subscribe(1, source), m.Unsubscribe(1), m.KeyframeWanted(1),
        m.RequestControl(source, True, 3), m.GiveBack(source), m.ClipboardText("text", 0, source),
        m.Input([m.Key(30, True), m.Motion(1, 2, 3), m.Text("x"), m.Held([30])], source, 7),
        m.ShowDisplay("1", source, 4), m.WatchThumbnails(True), m.WatchThumbnails(False),
    ]  # fmt: skip
    return [framed(message) for message in messages]


def from_agents() -> list[bytes]:
    messages = [
        m.Ping(1), m.Pong(1, 2, 3), m.SourceState([m.DisplayInfo("1", "HDMI-1", 9, 9)], figures={"fps": 1.0}),
        m.Cursor(1, 2, True, 3, 0, 2, 2, 0, 0, bytes(16)), m.ClipboardText("text"), m.InputDone(1, ["no"]),
    ]  # fmt: skip
    return [framed(message) for message in messages]


def frames(agent: bool) -> list[bytes]:
    if not agent:
        return [VideoHeader(ACK, channel=1, sequence=9).pack(), VideoHeader(ACK).pack()]
    return [
        VideoHeader(UNIT, 4, True, sequence=1, generation=1, width=9, height=9).pack() + b"unit",
        VideoHeader(UNIT, 4, rendition=1, sequence=2).pack() + b"unit",
        VideoHeader(THUMBNAIL, 4).pack() + b"\xff\xd8\xff\xd9",
    ]


def mutated(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 8))):
        kind = chance.randrange(4)
        at = chance.randrange(len(out) + 1)
        if kind == 0 and out:
            out[at % len(out)] = chance.randrange(256)
        elif kind == 1:
            del out[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            out[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            out[at:at] = out[: chance.randrange(len(out) + 1)]
    return bytes(out)


class Attacker:
    """One that comes again and again, each time as somebody else."""

    def __init__(self, seed: float, token: str, credential: m.Paired, evil: str) -> None:
        self._chance = random.Random(seed)
        self._token = token
        self._credential = credential
        self._evil = evil
        self.counts: Counter[str] = Counter()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def attack(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            kind = self._chance.choices(("stranger", "viewer", "agent", "flood"), (5, 2, 2, 1))[0]
            self.counts[kind] += 1
            with contextlib.suppress(
                OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError
            ):
                async with asyncio.timeout(30), contextlib.AsyncExitStack() as open_now:
                    if kind == "stranger":
                        await self._strange(open_now)
                    elif kind == "flood":
                        await self._flood(open_now)
                    else:
                        await self._garbage(open_now, agent=kind == "agent")

    async def _open(
        self,
        open_now: contextlib.AsyncExitStack,
        port: int,
        *,
        tls: bool = True,
        small: bool = False,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain = socket.socket()
        open_now.callback(plain.close)
        plain.setblocking(False)
        if small:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=self._tls if tls else None, server_hostname="" if tls else None
        )
        open_now.callback(writer.transport.abort)
        return reader, writer

    async def _strange(self, open_now: contextlib.AsyncExitStack) -> None:
        chance = self._chance
        port, tls = chance.choice(list(PORTS.values())), chance.random() < 0.9
        reader, writer = await self._open(open_now, port, tls=tls)
        if chance.random() < 0.9:
            writer.write(GREETING)
        await self._pour(writer, from_strangers(self._token if chance.random() < 0.7 else "guess"))
        if chance.random() < 0.5:
            await asyncio.wait_for(reader.read(1 << 16), chance.choice((0.01, 0.2, 2)))

    async def _known(
        self, open_now: contextlib.AsyncExitStack, *, agent: bool, small: bool = False
    ) -> tuple[asyncio.StreamWriter, asyncio.StreamWriter]:
        """Up to the Welcome, with both connections."""
        hello: m.AnyMessage = m.ViewerHello(self._token)
        if agent:
            hello = m.AgentHello(self._credential.identity, self._credential.secret, self._evil)
        reader, writer = await self._open(open_now, PORTS["--port"], small=small)
        writer.write(GREETING + framed(hello))
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        welcome = m.decode(await reader.readexactly(size))
        assert isinstance(welcome, m.Welcome), welcome
        _, video = await self._open(open_now, PORTS["--video-port"], small=small)
        video.write(GREETING + framed(m.VideoHello(welcome.video_token)))
        self.counts["welcome"] += 1
        return writer, video

    async def _garbage(self, open_now: contextlib.AsyncExitStack, *, agent: bool) -> None:
        writer, video = await self._known(open_now, agent=agent)
        for _ in range(self._chance.choice((1, 4))):
            await self._pour(writer, from_agents() if agent else from_viewers(self._evil))
            await self._pour(video, frames(agent))
            await asyncio.sleep(self._chance.choice((0, 0.05)))

    async def _flood(self, open_now: contextlib.AsyncExitStack) -> None:
        """Thousands of messages, all of them right, from one that reads nothing."""
        agent = self._chance.random() < 0.5
        writer, video = await self._known(open_now, agent=agent, small=True)
        for each in (writer, video):
            each.transport.pause_reading()
        piece = self._chance.choice(from_agents() if agent else from_viewers(self._evil))
        if agent and self._chance.random() < 0.3:
            writer, piece = video, frames(agent)[0]
        for _ in range(FLOOD // 200):
            if writer.transport.is_closing():
                break  # it was cut off, as it should be
            writer.write(piece * 200)
            await writer.drain()

    async def _pour(self, writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
        chance = self._chance
        for _ in range(chance.choice((1, 3, 10, 200))):
            writer.write(mutated(chance.choice(pieces), chance))
            if chance.random() < 0.02:
                writer.write(struct.pack("!I", 0xFFFFFFFF))
            await asyncio.wait_for(writer.drain(), 5)


async def paired(line: str, name: str) -> m.Paired:
    """A credential of its own for a machine that means no good."""
    parsed = PairingLine.parse(line)
    connection = await dial(parsed.hub, parsed.hub.control_port)
    await connection.send(m.Pair(parsed.code, name))
    answer = await connection.receive_greeted()
    await connection.close()
    assert isinstance(answer, m.Paired), answer
    return answer


async def watch(access: dict[str, str], seconds: float) -> tuple[float, float, int]:
    """The good viewer, in a process of its own: share of the pictures, longest time without one, keyframes."""
    program = str(Path(__file__).with_name("far_viewer.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        access["url"],
        access["token"],
        str(seconds),
        stdout=subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, "the good viewer was cut off"
    seen = json.loads(said)
    times = [at for at, _ in seen["ages"]]
    return (
        len(times) / (seconds * FPS),
        max(after - before for before, after in pairwise(times)),
        seen["keyframes"],
    )


def footprint(process: psutil.Process) -> tuple[float, int, int]:
    return process.memory_info().rss / 1e6, process.num_fds(), process.num_threads()


async def main(minutes: float) -> int:
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CONFIG_HOME"] = name
        command = [sys.executable, "-m", "kvmstream"]
        folder = ["--folder", str(Path(name) / "hub")]
        ports = [str(word) for pair in PORTS.items() for word in pair]

        def run(*words: str, said: bytes = b"") -> bytes:
            full = [*command, *words, *folder]
            return subprocess.run(full, input=said, check=True, capture_output=True).stdout

        def pairing_line() -> str:
            return run("hub", "--pair", "--address", "127.0.0.1").decode().split("'")[1]

        run("users", "add", "eve", "--role", "admin", said=b"long enough")
        hub = subprocess.Popen(  # noqa: ASYNC220
            [*command, "hub", "--host", "127.0.0.1", *ports, *folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        agent = kvmstream.SourceAgentClient(
            kvmstream.StreamConfig(source="pattern", width=320, height=240, fps=FPS), name=GOOD
        )
        try:
            await asyncio.sleep(2)
            access = json.loads(run("users", "token", "eve", "--json", "--address", "127.0.0.1"))
            await asyncio.to_thread(kvmstream.agent.pair, pairing_line(), GOOD)
            agent.start("127.0.0.1", PORTS["--port"], PORTS["--video-port"])
            chance = random.Random(1)
            attackers = []
            for number in range(ATTACKERS):
                evil = f"evil-{number}"
                attackers.append(
                    Attacker(
                        chance.random(), access["token"], await paired(pairing_line(), evil), evil
                    )
                )
            process = psutil.Process(hub.pid)
            # Long enough that what grows once has grown.
            deadline = time.monotonic() + min(120.0, minutes * 15)
            await asyncio.gather(*(attacker.attack(deadline) for attacker in attackers))
            await asyncio.sleep(12)
            before = footprint(process)
            for attacker in attackers:
                attacker.counts.clear()
            seconds = minutes * 60
            deadline = time.monotonic() + seconds
            *_, (share, worst, keyframes) = await asyncio.gather(
                *(attacker.attack(deadline) for attacker in attackers), watch(access, seconds)
            )
            await asyncio.sleep(12)
            after = footprint(process)
            assert hub.poll() is None, "the hub has ended"
            counts = sum((attacker.counts for attacker in attackers), Counter())
            print(
                f"soak: {counts['stranger']} strangers, {counts['welcome']} sessions of viewers and agents, "
                f"{counts['flood']} of them floods; a viewer beside them got {share:.1%} of the pictures, at most "
                f"{worst:.2f} s apart; "
                f"hub before/after: {before[0]:.0f}/{after[0]:.0f} MB, {before[1]}/{after[1]} descriptors, "
                f"{before[2]}/{after[2]} threads"
            )
            known = counts["viewer"] + counts["agent"] + counts["flood"]
            assert counts["welcome"] > 0.9 * known, "the credentials are real"
            assert share > 0.95
            assert worst < 0.5
            assert keyframes == 1
            assert after[0] < before[0] + 20
            assert after[1] <= before[1] + 4
            assert after[2] <= before[2] + 2
        finally:
            await asyncio.to_thread(agent.stop)
            hub.terminate()
            assert hub.wait(10) == 0
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]))))
