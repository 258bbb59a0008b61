"""What capture asks an X server: monitors, damage, pointer and cursor.

mss reads pixels and nothing else; it never says *that* something changed. With this a still screen costs nothing.
Numbers come from the protocol documents: X11 core, randrproto 1.6, fixesproto 5.0, damageproto 1.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .waker import readable
from .x11_wire import XError, XServerGone, XWire

__all__ = ["CursorImage", "Events", "Monitor", "XConnection", "XError", "XServerGone"]

_CONFIGURE_NOTIFY = 22
_STRUCTURE_NOTIFY_MASK = 0x20000
_CW_EVENT_MASK = 0x800
_DAMAGE_NON_EMPTY = 3


@dataclass(frozen=True)
class Monitor:
    """One RandR monitor, in pixels of the root window."""

    name: str
    x: int
    y: int
    width: int
    height: int
    primary: bool
    refresh_hz: float  # 0.0 = unknown


@dataclass(frozen=True)
class CursorImage:
    """Pixels are premultiplied BGRA, ``width`` × ``height`` × 4 bytes."""

    serial: int
    width: int
    height: int
    hot_x: int
    hot_y: int
    bgra: bytes


@dataclass
class Events:
    """What :meth:`XConnection.poll` found since the last call."""

    damaged: bool = False
    cursor_shape: bool = False
    geometry: bool = False


class XConnection(XWire):
    """A connection to one X server. Raises :exc:`XServerGone` from any method when the server is or goes away."""

    def __init__(self, display: str) -> None:
        super().__init__(display)
        self._damage = 0
        self._region = 0

    # -- monitors -----------------------------------------------------------------------------------------------------

    def geometry(self) -> tuple[int, int]:
        """Width and height of the root window now."""
        reply = self._ask(14, 0, struct.pack("<I", self.root))
        width, height = struct.unpack_from("<HH", reply, 16)
        return width, height

    def monitors(self) -> list[Monitor]:
        """Active monitors as RandR orders them; the whole root window when RandR is missing or lists none."""
        randr = self._versioned("RANDR", 1, 5)
        found = self._randr_monitors(randr.opcode) if randr is not None else []
        if found:
            return found
        width, height = self.geometry()
        return [Monitor("screen", 0, 0, width, height, True, 0.0)]

    def _randr_monitors(self, opcode: int) -> list[Monitor]:
        try:
            reply = self._ask(opcode, 42, struct.pack("<IBxxx", self.root, 1))
        except XError:  # RandR older than 1.5
            return []
        rates = self._refresh_rates(opcode)
        (count,) = struct.unpack_from("<I", reply, 12)
        found, offset = [], 32
        for _ in range(count):
            atom, primary, _, outputs, x, y, width, height = struct.unpack_from(
                "<IBBHhhHH", reply, offset
            )
            ids = struct.unpack_from(f"<{outputs}I", reply, offset + 24)
            offset += 24 + outputs * 4
            if width and height:
                rate = next((rates[i] for i in ids if i in rates), 0.0)
                found.append(
                    Monitor(self._atom_name(atom), x, y, width, height, bool(primary), rate)
                )
        return found

    def _atom_name(self, atom: int) -> str:
        reply = self._ask(17, 0, struct.pack("<I", atom))
        (size,) = struct.unpack_from("<H", reply, 8)
        return reply[32 : 32 + size].decode("utf-8", "replace")

    def _resources(self, opcode: int) -> tuple[int, tuple[int, ...], dict[int, float]]:
        """Configuration time, outputs, and refresh rate by mode."""
        reply = self._ask(opcode, 25, struct.pack("<I", self.root))
        stamp, crtcs, outputs, modes = struct.unpack_from("<IHHH", reply, 12)
        offset = 32 + crtcs * 4
        ids = struct.unpack_from(f"<{outputs}I", reply, offset)
        offset += outputs * 4
        rates = {}
        for _ in range(modes):
            mode, clock, h_total, v_total = struct.unpack_from("<I4xI4xH6xH", reply, offset)
            rates[mode] = clock / (h_total * v_total) if h_total and v_total else 0.0
            offset += 32
        return stamp, ids, rates

    def _refresh_rates(self, opcode: int) -> dict[int, float]:
        """Refresh rate in Hz by output."""
        found = {}
        try:
            stamp, outputs, modes = self._resources(opcode)
            for output in outputs:
                info = self._ask(opcode, 9, struct.pack("<II", output, stamp))
                (crtc,) = struct.unpack_from("<I", info, 12)
                if crtc:
                    crtc_info = self._ask(opcode, 20, struct.pack("<II", crtc, stamp))
                    (mode,) = struct.unpack_from("<I", crtc_info, 20)
                    found[output] = modes.get(mode, 0.0)
        except XError:
            pass  # the configuration changed meanwhile; the rate is a nicety
        return found

    def output_names(self) -> list[str]:
        """Names of all RandR outputs, connected or not."""
        randr = self._versioned("RANDR", 1, 5)
        if randr is None:
            return []
        names = []
        try:
            stamp, outputs, _ = self._resources(randr.opcode)
            for output in outputs:
                info = self._ask(randr.opcode, 9, struct.pack("<II", output, stamp))
                crtcs, modes, _, clones, size = struct.unpack_from("<HHHHH", info, 26)
                start = 36 + (crtcs + modes + clones) * 4
                names.append(info[start : start + size].decode("utf-8", "replace"))
        except XError:
            pass
        return names

    def get_image(self, x: int, y: int, width: int, height: int) -> memoryview:
        """Pixels of the root window, as :attr:`image` says. Raises :exc:`XError` outside of it."""
        z_pixmap, all_planes = 2, 0xFFFFFFFF
        request = struct.pack("<IhhHHI", self.root, x, y, width, height, all_planes)
        return memoryview(self._ask(73, z_pixmap, request))[32 : 32 + width * height * 4]

    # -- watching -----------------------------------------------------------------------------------------------------

    def watch(self, *, cursor: bool) -> bool:
        """Asks for events: damage, changes of size and monitors, and the cursor's shape. False without DAMAGE."""
        self._send(2, 0, struct.pack("<III", self.root, _CW_EVENT_MASK, _STRUCTURE_NOTIFY_MASK))
        randr = self._versioned("RANDR", 1, 5)
        if randr is not None:
            self._send(randr.opcode, 4, struct.pack("<IHxx", self.root, 7))
        fixes = self._versioned("XFIXES", 5, 0)
        if cursor and fixes is not None:
            self._send(fixes.opcode, 3, struct.pack("<II", self.root, 1))
        if fixes is None:  # damage is fetched as one of its regions
            return False
        damage = self._versioned("DAMAGE", 1, 1)
        if damage is None:
            return False
        self._region = self._new_id()
        self._send(fixes.opcode, 5, struct.pack("<I", self._region))
        self._damage = self._new_id()
        # "Non-empty" sends one event per subtract(), however much is drawn: the flood stays in the server.
        self._send(
            damage.opcode, 1, struct.pack("<IIBxxx", self._damage, self.root, _DAMAGE_NON_EMPTY)
        )
        return True

    def poll(self) -> Events:
        """Reads whatever has arrived, without waiting."""
        while self._buffer or readable([self.fileno()], 0):
            message = self._read_message()
            if message[0] > 1:
                self._events.append(message)
        damage, fixes, randr = (
            self._extensions.get(name) for name in ("DAMAGE", "XFIXES", "RANDR")
        )
        found = Events()
        while self._events:
            kind = self._events.popleft()[0] & 0x7F
            if damage is not None and kind == damage.first_event:
                found.damaged = True
            elif fixes is not None and kind == fixes.first_event + 1:
                found.cursor_shape = True
            elif kind == _CONFIGURE_NOTIFY or (
                randr is not None and kind - randr.first_event in (0, 1)
            ):
                found.geometry = True
        return found

    def take_damage(self) -> list[tuple[int, int, int, int]]:
        """Rectangles (x, y, width, height) of the root window that were drawn to since the last call."""
        damage, fixes = self._extensions["DAMAGE"], self._extensions["XFIXES"]
        assert damage is not None
        assert fixes is not None
        self._send(damage.opcode, 3, struct.pack("<III", self._damage, 0, self._region))
        reply = self._ask(fixes.opcode, 19, struct.pack("<I", self._region))
        return [rect for rect in struct.iter_unpack("<hhHH", reply[32:]) if rect[2] and rect[3]]

    # -- pointer ------------------------------------------------------------------------------------------------------

    def pointer(self) -> tuple[int, int, bool]:
        """Position in the root window, and whether the pointer is on this screen at all."""
        reply = self._ask(38, 0, struct.pack("<I", self.root))
        x, y = struct.unpack_from("<hh", reply, 16)
        return x, y, bool(reply[1])

    def cursor_image(self) -> CursorImage | None:
        """The cursor's present shape; None when the server cannot tell."""
        fixes = self._versioned("XFIXES", 5, 0)
        if fixes is None:
            return None
        try:
            reply = self._ask(fixes.opcode, 4)
        except XError:
            return None
        _, _, width, height, hot_x, hot_y, serial = struct.unpack_from("<hhHHHHI", reply, 8)
        return CursorImage(serial, width, height, hot_x, hot_y, reply[32 : 32 + width * height * 4])
