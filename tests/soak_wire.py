"""Garbage, truncation, floods, slow-loris and oversize against a real hub; a good viewer goes on meanwhile.

    python tests/soak_wire.py MINUTES

Fails when the hub's process ends or hangs, when the good viewer misses anything, or when memory, descriptors or threads
grow. Mutates what the protocol's own messages look like, so that it gets past the first bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import kvmstream
import kvmstream.agent
from kvmstream.wire import limits
from kvmstream.wire import messages as m
from kvmstream.wire.video import ACK, UNIT, VideoHeader

PORTS = {"--port": 28080, "--video-port": 28081, "--web-port": 28443}
GREETING = b"KVMSTRM" + bytes([limits.VERSION])


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def examples(token: str, video_token: str) -> list[bytes]:
    messages = [
        m.Ping(1), m.Pong(1, 2, 3), m.Pair("AAAA-AAAA-AAAA", "pc"), m.AgentHello("i", "s", "n"), m.ViewerHello(token),
        m.VideoHello(video_token), m.Subscribe(1, "pc"), m.Unsubscribe(1), m.KeyframeWanted(1), m.RequestControl("pc"),
        m.GiveBack("pc"), m.Input([m.Key(30, True), m.Motion(1, 2, 3), m.Text("x"), m.Held([30])], "pc", 7),
        m.ClipboardText("text", 0, "pc"), m.ShowDisplay("1", "pc"), m.Watch(True), m.SourceState([]),
        m.Cursor(1, 2, True, 3), m.Welcome("x"), m.Refused("no"),
    ]  # fmt: skip
    frames = [
        VideoHeader(UNIT, 4, True, sequence=1).pack() + b"unit",
        VideoHeader(ACK, channel=1, sequence=9).pack(),
    ]
    return [framed(m.encode(message)) for message in messages] + frames


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


async def attack(chance: random.Random, token: str, deadline: float) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    count = 0
    while time.monotonic() < deadline:
        count += 1
        port = chance.choice(list(PORTS.values()))
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
            tls = context if chance.random() < 0.9 else None
            async with asyncio.timeout(15):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            try:
                pieces = examples(token if chance.random() < 0.7 else "guess", "guess")
                if chance.random() < 0.9:
                    writer.write(GREETING)
                if chance.random() < 0.6:  # a viewer that is known
                    writer.write(framed(m.encode(m.ViewerHello(token))))
                for _ in range(chance.choice((1, 3, 10, 200))):
                    writer.write(mutated(chance.choice(pieces), chance))
                    if chance.random() < 0.02:
                        writer.write(struct.pack("!I", 0xFFFFFFFF))
                    await asyncio.wait_for(writer.drain(), 5)
                if chance.random() < 0.5:
                    await asyncio.wait_for(reader.read(1 << 16), chance.choice((0.01, 0.2, 2)))
            finally:
                writer.transport.abort()
    return count


async def watch(access: dict[str, str], deadline: float) -> tuple[int, float]:
    """The good viewer: units it got, and the longest time between two."""
    async with kvmstream.connect(access["url"], token=access["token"]) as hub:
        source = hub.sources["pc"]
        await source.wait_online(20)
        decoder = kvmstream.Decoder()
        count, worst, last = 0, 0.0, None
        async with source.packets() as packets:
            while time.monotonic() < deadline:
                packet = await asyncio.wait_for(anext(packets), 20)
                assert decoder.decode_picture(packet) is not None
                now = time.monotonic()
                worst = max(worst, now - last) if last is not None else 0.0
                count, last = count + 1, now
        return count, worst


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

        run("users", "add", "eve", "--role", "admin", said=b"long enough")
        hub = subprocess.Popen(  # noqa: ASYNC220
            [*command, "hub", "--host", "127.0.0.1", *ports, *folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        agent = kvmstream.SourceAgentClient(
            kvmstream.StreamConfig(source="pattern", width=320, height=240, fps=20), name="pc"
        )
        try:
            await asyncio.sleep(2)
            access = json.loads(run("users", "token", "eve", "--json", "--address", "127.0.0.1"))
            printed = run("hub", "--pair", "--address", "127.0.0.1").decode()
            await asyncio.to_thread(kvmstream.agent.pair, printed.split("'")[1], "pc")
            agent.start("127.0.0.1", PORTS["--port"], PORTS["--video-port"])
            process = psutil.Process(hub.pid)
            # Long enough that what grows once has grown.
            warm = min(30.0, minutes * 15)
            chance = random.Random(1)
            seeds = [random.Random(chance.random()) for _ in range(8)]
            deadline = time.monotonic() + warm
            counts = await asyncio.gather(
                *(attack(seed, access["token"], deadline) for seed in seeds)
            )
            await asyncio.sleep(3)
            before = footprint(process)
            deadline = time.monotonic() + minutes * 60
            *counts, (units, worst) = await asyncio.gather(
                *(attack(seed, access["token"], deadline) for seed in seeds),
                watch(access, deadline),
            )
            await asyncio.sleep(12)
            after = footprint(process)
            assert hub.poll() is None, "the hub has ended"
            print(
                f"soak: {sum(counts)} connections; a viewer beside them got {units} units, at most {worst:.2f} s "
                f"apart; "
                f"hub before/after: {before[0]:.0f}/{after[0]:.0f} MB, {before[1]}/{after[1]} descriptors, "
                f"{before[2]}/{after[2]} threads"
            )
            assert units > minutes * 60 * 10
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
