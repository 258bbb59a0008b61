"""An agent as it runs on Windows: our Python package in a CPython for Windows, under Wine, at a hub of this platform.

scripts/test_windows_agent.sh runs it where $KVMSTREAM_WINDOWS_PYTHON names such an interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import Brush
from house import eventually, house

from kvmstream.agent._scan_codes import SCAN_CODES
from kvmstream.wire.keys import KEYS

__all__ = ["house"]  # a fixture

_PYTHON = os.environ.get("KVMSTREAM_WINDOWS_PYTHON", "")
pytestmark = pytest.mark.skipif(not _PYTHON, reason="scripts/test_windows_agent.sh runs it")

_START_SECONDS = 60
_KEY_DOWN, _KEY_UP, _CHAR = 0x100, 0x101, 0x102  # WM_…
_MOUSE_MOVE, _LEFT_DOWN, _WHEEL = 0x200, 0x201, 0x20A
_PAD = (100, 120, 400, 300)  # x, y, width, height


@pytest.fixture
def windows(make_xvfb):
    """The X server that Wine shows its desktop on, in grey."""
    server = make_xvfb("1024x768")
    server.solid("#808080")
    server.env.update(PYTHONPATH=os.environ["KVMSTREAM_WINDOWS_PATH"], PYTHONUTF8="1")
    return server


def _run(server, *words):
    done = subprocess.run(
        ["wine", _PYTHON, *words], env=server.env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=_START_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _processes(module: str) -> list[psutil.Process]:
    """Those of the interpreter for Windows that run this module of ours."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if (
                module in words
                and "exe" in words[0]
                and process.environ().get("WINEPREFIX") == os.environ["WINEPREFIX"]
            ):
                found.append(process)
    return found


class Program:
    """One that the interpreter for Windows runs, and the lines that it prints. Wine gives it no files as streams."""

    def __init__(self, server, *words) -> None:
        self.process = subprocess.Popen(
            ["wine", _PYTHON, *words], env=server.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.put(line.strip())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        return "\n".join(self.lines.queue)


class Pad(Program):
    """The window of tests/windows_pad.py, in front, and what it tells."""

    def __init__(self, server) -> None:
        super().__init__(server, f"Z:{Path(__file__).with_name('windows_pad.py')}", *map(str, _PAD))
        assert self.lines.get(timeout=_START_SECONDS) == "ready"

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def until(self, enough, seconds=10.0):
        """Messages as [kind, wParam, lParam] until these are enough."""
        deadline, messages = time.monotonic() + seconds, []
        while not enough(messages):
            left = deadline - time.monotonic()
            assert left > 0, f"only these came within {seconds} s: {messages}"
            with contextlib.suppress(queue.Empty):
                messages.append(json.loads(self.lines.get(timeout=left)))
        return messages


@contextlib.asynccontextmanager
async def _agent(it, server):
    """`kvmstream pair` and `kvmstream agent` as a user of Windows types them."""
    line = str(it.hub.pairing_line("127.0.0.1"))
    await asyncio.to_thread(_run, server, "-m", "kvmstream", "pair", line, "--name", "win-pc")
    program = Program(
        server, "-m", "kvmstream", "agent", "127.0.0.1", "--port", str(it.hub.control_port),
        "--video-port", str(it.hub.video_port), "--bitrate", "40000000",
    )  # fmt: skip
    try:
        await eventually(
            lambda: "win-pc" in it.hub.held and it.hub.held["win-pc"].online,
            _START_SECONDS,
            "the source's coming online",
        )
        yield
    finally:
        print(program.said())
        program.end()


def test_pictures_and_input_and_clipboard(house, windows) -> None:
    async def main() -> None:
        async with house() as it, _agent(it, windows), it.viewer() as hub:
            source = hub.sources["win-pc"]
            await _see(source, windows)
            with await asyncio.to_thread(Pad, windows) as pad:
                await _point(source, pad)
                await _type(source, pad)
                await _die(source, pad)
            await _copy(source, windows)
        await eventually(lambda: not _processes("kvmstream.agent._worker"), 10, "the worker's end")
        await eventually(lambda: not _processes("kvmstream.agent._watchdog"), 10, "the watchdog's")

    asyncio.run(main())


async def _see(source, windows) -> None:
    await eventually(lambda: source.info.displays, 20, "the list of monitors")
    assert [(d.width, d.height, d.primary) for d in source.info.displays] == [(1024, 768, True)]
    async with source.frames() as frames:
        picture = await asyncio.wait_for(anext(frames), _START_SECONDS)
        assert picture.shape == (768, 1024, 3)
        assert np.abs(picture[100, 100].astype(int) - 128).max() <= 3
        units, spent, began = 0, _worker_cpu(), time.monotonic()
        with Brush(windows.display) as brush:
            for step in range(120):
                brush.fill(50 + step, 60, 200, 100, (255, 0, 0))
                with contextlib.suppress(TimeoutError):
                    picture = await asyncio.wait_for(anext(frames), 0.05)
                    units += 1
        seconds = time.monotonic() - began
        figures = f"{units / seconds:.1f} fps, {1000 * (_worker_cpu() - spent) / units:.1f} ms"
        print(f"the agent's worker under Wine at 1024x768: {figures} of CPU a frame")
        deadline = time.monotonic() + 10
        while picture[100, 300, 0] < 240:
            assert time.monotonic() < deadline
            picture = await asyncio.wait_for(anext(frames), 10)
        assert picture[100, 300, 1:].max() < 16


def _worker_cpu() -> float:
    (worker,) = _processes("kvmstream.agent._worker")
    return sum(worker.cpu_times()[:2])


async def _point(source, pad) -> None:
    x, y, width, height = _PAD
    for across, down in ((0, 0), (width - 1, height - 1), (7, 9)):
        await source.mouse.move(x + across, y + down)
        there = [_MOUSE_MOVE, 0, down << 16 | across]
        await asyncio.to_thread(pad.until, lambda got, there=there: there in got)
    await source.mouse.click("left")
    await source.mouse.wheel(dy=-1)
    messages = await asyncio.to_thread(
        pad.until, lambda got: any(kind == _WHEEL for kind, *_ in got)
    )
    assert any(kind == _LEFT_DOWN and low == 9 << 16 | 7 for kind, _, low in messages)
    assert messages[-1][1] >> 16 == 120  # away from the user


async def _type(source, pad) -> None:
    text = "Hello, World! ÄÖÜß é € ж λ 漢字 🙂\n"
    data = text.replace("\n", "\r").encode("utf-16-le")
    units = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
    await source.keyboard.type(text)
    messages = await asyncio.to_thread(
        pad.until, lambda got: sum(m[0] == _CHAR for m in got) >= len(units)
    )
    assert [wide for kind, wide, _ in messages if kind == _CHAR] == units
    for name in ("KeyA", "ArrowLeft", "Numpad7", "F5", "ControlRight"):
        scan = SCAN_CODES[KEYS[name]]
        wanted = (scan & 0xFF, int(scan >> 8 == 0xE0))  # and whether it is an extended one

        def strokes(got, wanted=wanted):
            return [kind for kind, _, low in got if (low >> 16 & 0xFF, low >> 24 & 1) == wanted]

        await source.keyboard.press(name)
        messages = await asyncio.to_thread(pad.until, lambda got: _KEY_UP in strokes(got))
        assert [kind for kind in strokes(messages) if kind != _CHAR] == [_KEY_DOWN, _KEY_UP], name


async def _die(source, pad) -> None:
    """A worker that is killed leaves no key down: its watchdog sees to that."""
    await source.keyboard.down("KeyB")
    await asyncio.to_thread(pad.until, lambda got: any(m[:2] == [_KEY_DOWN, 0x42] for m in got))
    (worker,) = _processes("kvmstream.agent._worker")
    worker.kill()
    await asyncio.to_thread(pad.until, lambda got: any(m[:2] == [_KEY_UP, 0x42] for m in got), 20)
    await source.wait_online(_START_SECONDS)


async def _copy(source, windows) -> None:
    """Wine shares its clipboard with the X server."""

    def paste() -> str:
        command = ["xclip", "-selection", "clipboard", "-t", "UTF8_STRING", "-o"]
        return subprocess.run(
            command, env=windows.env, capture_output=True, text=True, timeout=10, check=False
        ).stdout

    def copy(text: str) -> None:
        command = ["xclip", "-selection", "clipboard", "-i"]
        subprocess.run(command, env=windows.env, input=text, text=True, timeout=10, check=True)

    await source.request_control()
    await source.clipboard.write("Grüße\n漢🙂")
    await eventually(lambda: paste() == "Grüße\n漢🙂", 10, "the text over there")
    change = asyncio.create_task(source.clipboard.wait_change(20))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(copy, "von dort")
    assert await change == "von dort"
