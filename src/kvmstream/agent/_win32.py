"""What input and clipboard ask of Windows, by ctypes. Structures as in winuser.h, with the sizes of 64-bit Windows on
every platform, so that they can be tested anywhere."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

from kvmstream.errors import CaptureError

__all__ = [
    "HardwareInput",
    "Input",
    "KeyboardInput",
    "MouseInput",
    "Point",
    "User32",
    "load",
    "pipe_ended",
]

_DPI_PER_MONITOR_V2: Final = -4
_VIRTUAL_SCREEN: Final = (76, 77, 78, 79)  # SM_XVIRTUALSCREEN, Y, CX, CY
_SWAPPED_BUTTONS: Final = 23
_KEYBOARD_SPEED, _KEYBOARD_DELAY = 10, 22
_SCAN_TO_VIRTUAL_KEY: Final = 3  # MAPVK_VSC_TO_VK_EX
_QUERY_LIMITED, _TOKEN_QUERY, _INTEGRITY_LEVEL = 0x1000, 0x0008, 25
_ACCESS_DENIED: Final = 5


class MouseInput(ctypes.Structure):
    """MOUSEINPUT."""

    _fields_ = (
        ("dx", ctypes.c_int32),
        ("dy", ctypes.c_int32),
        ("data", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("time", ctypes.c_uint32),
        ("extra", ctypes.c_size_t),
    )


class KeyboardInput(ctypes.Structure):
    """KEYBDINPUT."""

    _fields_ = (
        ("virtual_key", ctypes.c_uint16),
        ("scan", ctypes.c_uint16),
        ("flags", ctypes.c_uint32),
        ("time", ctypes.c_uint32),
        ("extra", ctypes.c_size_t),
    )


class HardwareInput(ctypes.Structure):
    """HARDWAREINPUT."""

    _fields_ = (("message", ctypes.c_uint32), ("low", ctypes.c_uint16), ("high", ctypes.c_uint16))


class _Any(ctypes.Union):
    _fields_ = (("mi", MouseInput), ("ki", KeyboardInput), ("hi", HardwareInput))


class Input(ctypes.Structure):
    """INPUT."""

    _anonymous_ = ("any",)
    _fields_ = (("kind", ctypes.c_uint32), ("any", _Any))


class Point(ctypes.Structure):
    """POINT."""

    _fields_ = (("x", ctypes.c_int32), ("y", ctypes.c_int32))


def load(name: str) -> Any:
    """One of Windows' libraries. Raises CaptureError elsewhere."""
    if sys.platform == "win32":
        return ctypes.WinDLL(name, use_last_error=True)
    raise CaptureError(f"{name} is a part of Windows, and this is {sys.platform}")


def pipe_ended(descriptor: int) -> bool:
    """Whether nobody is left who could write into this pipe. Raises CaptureError elsewhere than on Windows."""
    peek = load("kernel32").PeekNamedPipe
    peek.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, *(ctypes.c_void_p,) * 3)
    return not peek(_os_handle(descriptor), None, 0, None, None, None)


def _os_handle(descriptor: int) -> int:
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.get_osfhandle(descriptor)
    return descriptor


class User32:
    """The calls. Belongs to one thread, which it makes aware of each monitor's DPI. Raises CaptureError elsewhere."""

    def __init__(self) -> None:
        self._user = load("user32")
        self._kernel = load("kernel32")
        self._advapi = load("advapi32")
        handle = ctypes.c_void_p
        for function in (
            self._user.GetForegroundWindow,
            self._user.WindowFromPoint,
            self._user.GetKeyboardLayout,
            self._user.SetThreadDpiAwarenessContext,
            self._kernel.OpenProcess,
            self._kernel.GetCurrentProcess,
        ):
            function.restype = handle
        self._user.WindowFromPoint.argtypes = (Point,)
        self._user.SetThreadDpiAwarenessContext.argtypes = (handle,)
        self._user.GetWindowThreadProcessId.argtypes = (handle, ctypes.c_void_p)
        self._user.MapVirtualKeyExW.argtypes = (ctypes.c_uint, ctypes.c_uint, handle)
        self._user.GetKeyState.restype = ctypes.c_int16
        self._kernel.CloseHandle.argtypes = (handle,)
        self._advapi.OpenProcessToken.argtypes = (handle, ctypes.c_uint32, ctypes.c_void_p)
        self._advapi.GetTokenInformation.argtypes = (
            handle, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p,
        )  # fmt: skip
        self._advapi.GetSidSubAuthorityCount.argtypes = (handle,)
        self._advapi.GetSidSubAuthorityCount.restype = ctypes.POINTER(ctypes.c_uint8)
        self._advapi.GetSidSubAuthority.argtypes = (handle, ctypes.c_uint32)
        self._advapi.GetSidSubAuthority.restype = ctypes.POINTER(ctypes.c_uint32)
        self._asked = (0, False)  # a process, and whether it outranks us
        self._user.SetThreadDpiAwarenessContext(handle(_DPI_PER_MONITOR_V2))

    def send(self, events: list[Input]) -> int:
        """How many of them Windows took. It also says so of what it keeps from an elevated window."""
        array = (Input * len(events))(*events)
        return int(self._user.SendInput(len(events), array, ctypes.sizeof(Input)))

    def virtual_key(self, scan: int) -> int:
        """What the layout of the window in front makes of a scan code; 0 for nothing."""
        thread = self._user.GetWindowThreadProcessId(self._user.GetForegroundWindow(), None)
        layout = self._user.GetKeyboardLayout(thread)
        return int(self._user.MapVirtualKeyExW(scan, _SCAN_TO_VIRTUAL_KEY, layout))

    def bounds(self) -> tuple[int, int, int, int]:
        """All monitors together, in physical pixels: x, y, width, height."""
        x, y, width, height = (int(self._user.GetSystemMetrics(n)) for n in _VIRTUAL_SCREEN)
        return x, y, width, height

    def locked_on(self, virtual_key: int) -> bool:
        """Whether VK_CAPITAL or VK_NUMLOCK is on."""
        # A thread's own view of the keyboard catches up when it looks at its messages.
        message = ctypes.create_string_buffer(64)
        self._user.PeekMessageW(message, None, 0, 0, 0)
        return bool(self._user.GetKeyState(virtual_key) & 1)

    def buttons_swapped(self) -> bool:
        """Left-handed: what is sent as the left button arrives as the right one."""
        return bool(self._user.GetSystemMetrics(_SWAPPED_BUTTONS))

    def key_repeat(self) -> tuple[int, int]:
        """What the user has set: 0 … 3 for 250 ms … 1 s, and 0 … 31 for 2.5 … 30 a second."""
        delay, speed = ctypes.c_uint32(1), ctypes.c_uint32(31)
        self._user.SystemParametersInfoW(_KEYBOARD_DELAY, 0, ctypes.byref(delay), 0)
        self._user.SystemParametersInfoW(_KEYBOARD_SPEED, 0, ctypes.byref(speed), 0)
        return min(delay.value, 3), min(speed.value, 31)

    def out_of_reach(self, pointer: bool) -> bool:
        """UIPI: the window in front, or under the pointer, belongs to a process of higher integrity than ours."""
        if pointer:
            at = Point()
            if not self._user.GetCursorPos(ctypes.byref(at)):
                return False
            window = self._user.WindowFromPoint(at)
        else:
            window = self._user.GetForegroundWindow()
        process = ctypes.c_uint32(0)
        if window:
            self._user.GetWindowThreadProcessId(window, ctypes.byref(process))
        if process.value == 0:
            return False
        if process.value != self._asked[0]:  # the same program mostly: once is enough
            self._asked = (process.value, self._outranks_us(process.value))
        return self._asked[1]

    # ---- inside

    def _outranks_us(self, process_id: int) -> bool:
        ours = self._integrity(self._kernel.GetCurrentProcess())
        process = self._kernel.OpenProcess(_QUERY_LIMITED, False, process_id)
        if not process:
            return self._denied()
        try:
            theirs = self._integrity(process)
            return self._denied() if theirs is None else ours is not None and theirs > ours
        finally:
            self._kernel.CloseHandle(process)

    def _integrity(self, process: int) -> int | None:
        """0x2000 medium, 0x3000 high (elevated), 0x4000 system; None when it may not be asked."""
        token = ctypes.c_void_p()
        if not self._advapi.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)):
            return None
        try:
            label = ctypes.create_string_buffer(128)  # TOKEN_MANDATORY_LABEL, then its SID
            size = ctypes.c_uint32()
            if not self._advapi.GetTokenInformation(
                token, _INTEGRITY_LEVEL, label, len(label), ctypes.byref(size)
            ):
                return None
            sid = ctypes.c_void_p.from_buffer(label)
            parts = self._advapi.GetSidSubAuthorityCount(sid)[0]
            return int(self._advapi.GetSidSubAuthority(sid, parts - 1)[0]) if parts else None
        finally:
            self._kernel.CloseHandle(token)

    @staticmethod
    def _denied() -> bool:
        return sys.platform == "win32" and ctypes.get_last_error() == _ACCESS_DENIED
