"""Short lossless sequences for the encoders: pictures, and the damage that the X server told of each.

Pictures are raw B G R X in one file. The damage file has a line for each picture, "x,y,width,height"
of every rectangle that was drawn to since the picture before. They are the server's own, as loose as
it reports them; comparing pixels has no part in them. It only proves them: a recording in which a
pixel changed outside of its damage is an error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from _desktop import HEIGHT, WIDTH, Desktop
from _workloads import RECORDED

from kvmstream._fallback.x11 import XConnection

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO, TextIO

    from _workloads import Workload
    from numpy.typing import NDArray

    Rectangle = tuple[int, int, int, int]

PAGE = "page"
SEQUENCES = (*(name for name in RECORDED if name not in {"clip", "video"}), PAGE, "clip", "video")

# Steps of a workload for each picture, in turns: at 60 pictures a second the terminal scrolls by one
# line and by two.
_STEPS = {"still": (0,), "scroll": (1, 2)}
_QUIET = 0.03  # seconds without damage after which a change has been drawn
_PATIENCE = 5.0  # seconds for a change to begin


class RecordingError(RuntimeError):
    """The screen did not do what was asked of it, or damage and picture do not fit each other."""


def record(desktop: Desktop, name: str, frames: int, pictures: Path, damage: Path) -> None:
    """Record `frames` pictures of a sequence, each with a change unless it is the still one."""
    with pictures.open("wb") as picture_file, damage.open("w") as damage_file:
        if name == PAGE:
            _make_page(frames, picture_file, damage_file)
            return
        watch = XConnection(desktop.display)
        try:
            if not watch.watch(cursor=False):
                raise RecordingError("the X server has no DAMAGE extension")
            with RECORDED[name](desktop, stepped=True) as workload:
                _record(desktop, workload, watch, frames, picture_file, damage_file)
        finally:
            watch.close()


def _record(
    desktop: Desktop,
    workload: Workload,
    watch: XConnection,
    frames: int,
    picture_file: BinaryIO,
    damage_file: TextIO,
) -> None:
    steps = _STEPS.get(workload.name, (1,))
    before, _ = _settle(desktop, watch)
    _write(before, [(0, 0, WIDTH, HEIGHT)], picture_file, damage_file)
    for frame in range(1, frames):
        after, damage = before, []
        for _ in range(steps[frame % len(steps)]):
            after, more = _change(desktop, workload, watch, after)
            damage += more
        _prove(before, after, damage)
        _write(after, damage, picture_file, damage_file)
        before = after


def _write(
    picture: NDArray[np.uint8],
    damage: list[Rectangle],
    picture_file: BinaryIO,
    damage_file: TextIO,
) -> None:
    picture_file.write(picture.tobytes())
    damage_file.write(" ".join("{},{},{},{}".format(*rect) for rect in damage) + "\n")


def _change(
    desktop: Desktop, workload: Workload, watch: XConnection, before: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[Rectangle]]:
    """Step until a pixel changes; the picture and all damage since the one before."""
    damage: list[Rectangle] = []
    for _ in range(3):
        workload.step()
        deadline = time.monotonic() + _PATIENCE
        while not (begun := watch.take_damage()):
            if time.monotonic() > deadline:
                raise RecordingError(f"{workload.name}: nothing was drawn after a step")
            time.sleep(0.002)
        picture, more = _settle(desktop, watch)
        damage += begun + more
        if not np.array_equal(picture, before):
            return picture, damage
    raise RecordingError(f"{workload.name}: three steps left the picture as it was")


def _settle(desktop: Desktop, watch: XConnection) -> tuple[NDArray[np.uint8], list[Rectangle]]:
    """Wait until nothing is drawn any more; the picture, and the damage seen meanwhile."""
    damage: list[Rectangle] = []
    while True:
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < _QUIET:
            time.sleep(0.005)
            if more := watch.take_damage():
                damage += more
                quiet_from = time.monotonic()
        picture = desktop.picture()
        more = watch.take_damage()
        if not more:  # nothing was drawn while it was read
            return picture, damage
        damage += more


def _prove(before: NDArray[np.uint8], after: NDArray[np.uint8], damage: list[Rectangle]) -> None:
    changed = (before != after).any(axis=2)
    for x, y, width, height in damage:
        changed[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = False
    if changed.any():
        raise RecordingError(f"{int(changed.sum())} pixels changed outside of the reported damage")


def _make_page(frames: int, picture_file: BinaryIO, damage_file: TextIO) -> None:
    """A viewport of 1600 × 960 over a long page, text and smooth noisy pictures; scrolls by 37, 8, 113.

    Its damage is what a browser would report: the viewport.
    """
    chance = np.random.default_rng(3)
    steps = (37, 8, 113)
    left, top, width, height = viewport = (160, 80, 1600, 960)
    length = height + sum(steps) * (frames // len(steps) + 1)
    page = np.full((length, width), 250, np.uint8)
    for line in range(0, length - 16, 18):
        if line % 1440 > 900:
            continue
        ink = chance.random((16, width // 2)).repeat(2, axis=1) < 0.35
        ink &= (np.arange(width) % 8 < 6) & (np.arange(16)[:, None] % 15 < 11)
        ink[:, int(chance.integers(width // 2, width)) :] = False
        page[line : line + 16][ink] = 40
    colour = np.repeat(page[..., None], 4, axis=2)
    for line in range(920, length - 480, 1440):
        coarse = chance.random((16, 28, 3))
        rows, columns = np.linspace(0, 14.99, 480), np.linspace(0, 26.99, 840)
        r, c = rows.astype(int), columns.astype(int)
        fr, fc = (rows - r)[:, None, None], (columns - c)[None, :, None]
        smooth = (coarse[r][:, c] * (1 - fc) + coarse[r][:, c + 1] * fc) * (1 - fr) + (
            coarse[r + 1][:, c] * (1 - fc) + coarse[r + 1][:, c + 1] * fc
        ) * fr
        noisy = smooth * 220 + chance.normal(0, 4, smooth.shape) + 16
        colour[line : line + 480, 100:940, :3] = np.clip(noisy, 0, 255).astype(np.uint8)
    screen = np.full((HEIGHT, WIDTH, 4), 90, np.uint8)
    offset = 0
    for frame in range(frames):
        screen[top : top + height, left : left + width] = colour[offset : offset + height]
        damage = [viewport] if frame > 0 else [(0, 0, WIDTH, HEIGHT)]
        _write(screen, damage, picture_file, damage_file)
        offset += steps[frame % len(steps)]
