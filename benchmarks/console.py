"""What people in front of the console feel: a key to its picture, a switch of sources, and what the grid costs.

    python benchmarks/console.py                        # about two minutes
    python benchmarks/console.py --json console.json --plot console.png

Starts its own X server, terminal, hub, agents and a headless Chromium with a page of 1920 × 1080. Let nothing else run
beside it. A key is counted from its event's timeStamp in the page to the first animation frame after the picture was
drawn that shows a change of the screen younger than the key, and that has other pixels than the one before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _desktop import Desktop
from _hub import PORTS, Agent, Hub
from _report import machine
from latency import terminal
from playwright.async_api import Page, async_playwright

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
_GRID_SOURCES = 9

# Hooks into the page: what was drawn, with the stages that the worker measured.
_HOOK = """() => {
    const picture = kvmstream.view.picture;
    const canvas = document.querySelector(".box canvas");
    const small = new OffscreenCanvas(720, 600);  // the terminal's place on the screen
    const context = small.getContext("2d", { willReadFrequently: true });
    const pixels = () => {
        context.drawImage(canvas, 40, 40, 720, 600, 0, 0, 720, 600);
        const data = new Uint32Array(context.getImageData(0, 0, 720, 600).data.buffer);
        let hash = 0;
        for (let i = 0; i < data.length; i++) hash = (Math.imul(hash, 31) + data[i]) | 0;
        return hash;
    };
    window.pixels = pixels;
    window.bench = { key: 0, before: 0, waiting: null, stages: [] };
    canvas.closest(".stage").addEventListener("keydown", (event) => {
        bench.key = event.timeStamp;
    }, { capture: true });
    const hear = picture._hear;
    const drawn = hear.drawn;
    hear.drawn = (report) => {
        drawn(report);
        // The two clocks agree to about a millisecond; the key before was 150 ms ago.
        const since = (bench.key + performance.timeOrigin - 5) * 1e6;
        if (bench.waiting === null || report.refinement || report.damagedNs < since) return;
        // The worker's drawing reaches the page a frame later, sometimes two.
        const look = () => {
            const at = performance.now();
            if (bench.waiting === null) return;
            if (pixels() === bench.before) {
                requestAnimationFrame(look);
                return;
            }
            bench.waiting(at - bench.key);
            bench.waiting = null;
        };
        requestAnimationFrame(look);
    };
    const figures = hear.figures;
    hear.figures = (report) => {
        figures(report);
        bench.stages.push(...report.samples);
    };
}"""
_PREPARE = """() => {
    bench.before = pixels();
    bench.done = new Promise((resolve) => { bench.waiting = resolve; });
}"""
_DONE = """() => {
    const { waiting } = bench;
    const give_up = setTimeout(() => waiting?.(-1), 2000);
    return bench.done.finally(() => clearTimeout(give_up));
}"""
_SWITCH = """async (name) => {
    const began = performance.now();
    location.hash = `#/source/${name}`;
    await new Promise((resolve) => {
        const look = () => {
            const picture = kvmstream.view?.picture;
            const there = picture && picture.source === name && picture.geometry !== null;
            if (there) requestAnimationFrame(resolve);
            else setTimeout(look, 1);
        };
        look();
    });
    return performance.now() - began;
}"""


def share(values: list[float], part: float) -> float:
    """A percentile."""
    return float(np.percentile(values, part)) if values else float("nan")


async def keys(page: Page, desktop: Desktop, count: int) -> dict[str, Any]:
    """Milliseconds from key to picture."""
    with terminal(desktop):
        await page.locator(".stage").click(position={"x": 400, "y": 300})
        await page.get_by_text("You drive").wait_for()
        await page.evaluate(_HOOK)
        chance = np.random.default_rng(1)
        found: list[float] = []
        lost = 0
        for number in range(count):
            await page.evaluate(_PREPARE)
            await page.keyboard.press("m" if number % 60 else "Enter")
            took = await page.evaluate(_DONE)
            if took < 0:
                lost += 1
            elif number >= 5:  # the first ones warm everything up
                found.append(took)
            await asyncio.sleep(0.15 + float(chance.uniform(0, 1 / 60)))
        stages = await page.evaluate("bench.stages")
    return {"ms": found, "lost": lost, "stages": stages}


async def switches(page: Page, names: list[str], count: int) -> list[float]:
    """Milliseconds from one source to the next one's first picture, each of them seen before."""
    await page.evaluate("location.hash = '#/'")
    await page.locator(".cards").wait_for()
    found = []
    for number in range(count + len(names)):
        took = await page.evaluate(_SWITCH, names[number % len(names)])
        if number >= len(names):
            found.append(took)
        await asyncio.sleep(0.4)
    return found


async def grid(page: Page, seconds: float) -> float:
    """Per cent of a core that the page's main thread takes while the grid is open."""
    await page.evaluate("location.hash = '#/'")
    await page.locator(".cards").wait_for()
    await asyncio.sleep(2)
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def busy() -> float:
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")

    before, began = await busy(), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (await busy() - before) / (time.monotonic() - began)


async def measure(hub: Hub, desktop: Desktop, options: argparse.Namespace) -> dict[str, Any]:
    """All of it, in one browser."""
    async with async_playwright() as pw:
        browser = await pw.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_FLAGS)
        )
        context = await browser.new_context(
            ignore_https_errors=True, viewport={"width": 1920, "height": 1080}
        )
        page = await context.new_page()
        await page.goto(f"https://127.0.0.1:{PORTS[2]}/#/token/{hub.access['token']}")
        await page.locator(".cards").wait_for()
        await page.evaluate("location.hash = '#/source/bench'")
        await page.locator(".box canvas").first.wait_for(state="visible")
        psutil.cpu_percent()
        typed = await keys(page, desktop, options.keys)
        idle = 100 - psutil.cpu_percent()
        switched = await switches(page, ["bench", "pattern-0", "pattern-1"], options.switches)
        busy = await grid(page, options.seconds)
        await browser.close()
    return {"keys": typed, "idle": idle, "switches": switched, "grid": busy}


def plot(result: dict[str, Any], path: Path) -> None:
    """Stages at the median, and the distribution of the whole."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = ("capture", "encode", "agent", "to hub", "to page", "decode", "draw")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    start = 0.0
    for i, name in enumerate(names):
        value = share([stage[i] for stage in result["keys"]["stages"]], 50)
        left.barh(0, value, left=start, color=f"C{i}", label=f"{name} {value:.1f}")
        start += value
    left.set_yticks([0], ["typing"])
    left.set_xlabel("ms, median of each stage")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=4, frameon=False)
    for label in ("keys", "switches"):
        values = np.sort(result["keys"]["ms"] if label == "keys" else result["switches"])
        title = "key → picture" if label == "keys" else "switch → picture"
        right.plot(values, np.linspace(0, 100, len(values)), label=title)
    right.set_xlabel("ms")
    right.set_ylabel("%")
    right.set_xlim(left=0)
    right.grid(alpha=0.3)
    right.legend()
    figure.suptitle(machine(), fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=200, help="keys to press (default 200)")
    parser.add_argument("--switches", type=int, default=40, help="switches (default 40)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of the grid (default 15)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    print(machine())
    patterns = [f"pattern-{number}" for number in range(_GRID_SOURCES - 1)]
    with contextlib.ExitStack() as stack:
        desktop = stack.enter_context(Desktop())
        hub = stack.enter_context(Hub(desktop.directory / "hub", ["bench", *patterns]))
        stack.enter_context(Agent(hub, desktop.display, "bench"))
        for name in patterns:
            stack.enter_context(Agent(hub, "pattern", name))
        result = asyncio.run(measure(hub, desktop, options))
    typed, switched = result["keys"]["ms"], result["switches"]
    print(
        f"key → picture:    p50 {share(typed, 50):.1f} ms, p95 {share(typed, 95):.1f} ms of {len(typed)}, "
        f"{result['keys']['lost']} without one; idle {result['idle']:.0f} %"
    )
    print(
        f"switch → picture: p50 {share(switched, 50):.1f} ms, p95 {share(switched, 95):.1f} ms of {len(switched)}"
    )
    print(f"grid of {_GRID_SOURCES} sources: main thread {result['grid']:.1f} % of a core")
    if options.json:
        options.json.write_text(json.dumps(result))
    if options.plot:
        plot(result, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
