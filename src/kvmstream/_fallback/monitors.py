"""Which monitors there are, which one a display string means, and whether its pixels can be read at all."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kvmstream.errors import CaptureError, ConfigError

from .x11 import Monitor, XConnection, XServerGone

if TYPE_CHECKING:
    from .settings import Region

__all__ = ["captures", "choose_area", "connect", "displays", "parse_display"]

DisplayTuple = tuple[str, str, int, int, int, int, float, float, bool]


def uses_x11() -> bool:
    """Whether the screen is an X server's (elsewhere mss finds the monitors as well)."""
    return sys.platform not in ("win32", "darwin")


def parse_display(display: str) -> tuple[str, str]:
    """Splits ``":7/HDMI-1"`` into server and monitor; a server of ``""`` means ``$DISPLAY``."""
    colon = display.find(":")
    if colon < 0:
        return "", display
    slash = display.find("/", colon)
    return (display, "") if slash < 0 else (display[:slash], display[slash + 1 :])


def connect(server: str) -> XConnection:
    """A connection to a readable X server. Raises :exc:`CaptureError` with the next step."""
    connection = _connect_any(server)
    try:
        reason = why_unreadable(connection)
    except XServerGone as error:
        connection.close()
        raise CaptureError(str(error)) from None
    if reason:
        connection.close()
        raise CaptureError(reason)
    return connection


def _connect_any(server: str) -> XConnection:
    named = server or os.environ.get("DISPLAY", "")
    if not named:
        wayland = os.environ.get("WAYLAND_DISPLAY")
        if wayland:
            raise CaptureError(
                f"DISPLAY is not set and this is a Wayland session (WAYLAND_DISPLAY={wayland}): kvmstream reads X11 "
                "screens; log in to an X11 (Xorg) session"
            )
        raise CaptureError(
            "DISPLAY is not set: start from a graphical session, or name the X server, e.g. display=':0'"
        )
    try:
        return XConnection(named)
    except XServerGone as error:
        origin = "" if server else " (from $DISPLAY)"
        raise CaptureError(
            f"cannot connect to X server {named!r}{origin}: {error}; look at /tmp/.X11-unix and at XAUTHORITY, "
            "or run as the session's user"
        ) from None


def why_unreadable(connection: XConnection) -> str:
    """Why this server's root window shows nothing; "" when it can be read."""
    xwayland = connection.extension("XWAYLAND") is not None or any(
        # Before Xwayland 23.1 only the names of its outputs tell.
        name.startswith("XWAYLAND")
        for name in connection.output_names()
    )
    if xwayland:
        return (
            f"X server {connection.display!r} is Xwayland: a Wayland compositor draws the screen, and what X11 could "
            "read would be black; log in to an X11 (Xorg) session"
        )
    if not connection.image.is_bgrx:
        return (
            f"X server {connection.display!r} has a root window of depth {connection.image.depth}; 24-bit colour "
            "(32 bits per pixel, BGRX) is needed: set the screen to 24-bit colour"
        )
    return ""


def list_monitors(connection: XConnection) -> list[Monitor]:
    """Monitors cut to the root window, exactly one or more of them primary."""
    root_width, root_height = connection.geometry()
    found = []
    for monitor in connection.monitors():
        # A monitor may reach past the root for a moment while a mode changes; reading there is an X error.
        left, top = max(monitor.x, 0), max(monitor.y, 0)
        right = min(monitor.x + monitor.width, root_width)
        bottom = min(monitor.y + monitor.height, root_height)
        if right > left and bottom > top:
            found.append(
                Monitor(
                    monitor.name,
                    left,
                    top,
                    right - left,
                    bottom - top,
                    monitor.primary,
                    monitor.refresh_hz,
                )
            )
    if not found:
        found = [Monitor("screen", 0, 0, root_width, root_height, True, 0.0)]
    if not any(monitor.primary for monitor in found):
        first = found[0]
        found[0] = Monitor(
            first.name, first.x, first.y, first.width, first.height, True, first.refresh_hz
        )
    return found


def find_monitor(monitors: list[Monitor], name: str) -> Monitor | None:
    """By name, else by decimal index; "" = the primary one."""
    if not name:
        return next(monitor for monitor in monitors if monitor.primary)
    for monitor in monitors:
        if monitor.name == name:
            return monitor
    if name.isascii() and name.isdigit() and len(name) <= 3 and int(name) < len(monitors):
        return monitors[int(name)]
    return None


def describe(monitors: list[Monitor]) -> str:
    """``"HDMI-1 (1920x1080+0+0), …"`` for messages."""
    return ", ".join(f"{m.name} ({m.width}x{m.height}+{m.x}+{m.y})" for m in monitors)


def choose_area(
    monitors: list[Monitor],
    server: str,
    wanted: str,
    region: Region | None,
    *,
    lenient: bool = False,
) -> Region:
    """The rectangle of the root window that `wanted` and `region` mean.

    Raises :exc:`ConfigError` naming what there is. `lenient`: while streaming, a monitor that was
    unplugged gives way to the primary one, and a region is cut to what is left.
    """
    monitor = find_monitor(monitors, wanted)
    if monitor is None and lenient:
        monitor = find_monitor(monitors, "")
    if monitor is None:
        raise ConfigError(
            f"display = {wanted!r}: {server} has no such monitor; it has {describe(monitors)}"
        )
    whole = (monitor.x, monitor.y, monitor.width, monitor.height)
    if region is None:
        return whole
    x, y, width, height = region
    cut = (min(width, monitor.width - x), min(height, monitor.height - y))
    if cut == (width, height):
        return (monitor.x + x, monitor.y + y, width, height)
    if lenient:
        return (monitor.x + x, monitor.y + y, *cut) if min(cut) > 0 else whole
    raise ConfigError(
        f"region = {region} reaches outside display {monitor.name}, which is {monitor.width}x{monitor.height}"
    )


def mss_monitors() -> list[Monitor]:
    """The monitors of a platform without X11, as mss names them."""
    import mss
    from mss.exception import ScreenShotError

    try:
        with mss.MSS() as grabber:
            found = grabber.monitors[1:] or grabber.monitors
    except ScreenShotError as error:
        raise CaptureError(f"the screen cannot be read: {error}") from None
    return [
        Monitor(
            str(m.get("name") or f"monitor-{index}"),
            int(m["left"]),
            int(m["top"]),
            int(m["width"]),
            int(m["height"]),
            bool(m.get("is_primary", index == 0)),
            0.0,
        )
        for index, m in enumerate(found)
    ]


def displays(x_display: str = "") -> list[DisplayTuple]:
    """(id, name, x, y, width, height, scale, refresh_hz, primary). Raises :exc:`CaptureError`."""
    if uses_x11():
        connection = _connect_any(x_display)
        try:
            monitors = list_monitors(connection)
        except XServerGone as error:
            raise CaptureError(str(error)) from None
        finally:
            connection.close()
    else:
        monitors = mss_monitors()
    return [
        (m.name, m.name, m.x, m.y, m.width, m.height, 1.0, m.refresh_hz, m.primary)
        for m in monitors
    ]


def captures(x_display: str = "") -> list[tuple[str, bool, str]]:
    """(name, available, reason), best first."""
    name = "x11" if uses_x11() else "mss"
    try:
        if uses_x11():
            connect(x_display).close()
        else:
            mss_monitors()
    except CaptureError as error:
        screen = (name, False, str(error))
    else:
        screen = (name, True, "")
    return [screen, ("pattern", True, "")]
