"""A window on Windows that tells what arrives in it; tests/test_windows_agent.py runs it by an interpreter of Windows.

Standard output: first "ready", then a line of JSON for every message of keyboard and mouse: [message, wParam, lParam].
It ends with standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading

_TOPMOST, _POPUP_VISIBLE, _NOTIFY = 0x00000008, 0x90000000, 0x0100
_KEYBOARD = range(0x0100, 0x0109)
_MOUSE = range(0x0200, 0x020F)


class _Message(ctypes.Structure):
    _fields_ = (
        ("window", ctypes.c_void_p),
        ("kind", ctypes.c_uint32),
        ("wide", ctypes.c_size_t),
        ("low", ctypes.c_ssize_t),
        ("rest", ctypes.c_uint32 * 4),
    )


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    x, y, width, height = map(int, sys.argv[1:])
    threading.Thread(target=_end_with_input, daemon=True).start()
    user = ctypes.WinDLL("user32")
    handle = ctypes.c_void_p
    user.CreateWindowExW.restype = user.GetForegroundWindow.restype = handle
    user.CreateWindowExW.argtypes = (
        ctypes.c_uint32, ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_uint32, *(ctypes.c_int,) * 4,
        handle, handle, handle, handle,
    )  # fmt: skip
    user.SetForegroundWindow.argtypes = user.SetFocus.argtypes = (handle,)
    user.GetMessageW.argtypes = (handle, handle, ctypes.c_uint, ctypes.c_uint)
    for name in ("TranslateMessage", "DispatchMessageW"):
        getattr(user, name).argtypes = (handle,)
    window = user.CreateWindowExW(
        _TOPMOST,
        "STATIC",
        "",
        _POPUP_VISIBLE | _NOTIFY,
        x,
        y,
        width,
        height,
        None,
        None,
        None,
        None,
    )
    user.SetForegroundWindow(window)
    user.SetFocus(window)
    message = _Message()
    # The X server gives it the keyboard in its own time.
    user.SetTimer(handle(window), 1, 20, None)
    while (
        user.GetForegroundWindow() != window
        and user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0
    ):
        user.DispatchMessageW(ctypes.byref(message))
    user.KillTimer(handle(window), 1)
    print("ready", flush=True)
    while user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
        if message.kind in _KEYBOARD or message.kind in _MOUSE:
            print(json.dumps([message.kind, message.wide, message.low]), flush=True)
        user.TranslateMessage(ctypes.byref(message))
        user.DispatchMessageW(ctypes.byref(message))


if __name__ == "__main__":
    main()
