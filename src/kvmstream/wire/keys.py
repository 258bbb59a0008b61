"""Physical keys: KeyboardEvent.code (W3C UI Events) ↔ evdev codes (linux/input-event-codes.h), and pointer buttons."""

from __future__ import annotations

from typing import Final

from kvmstream.errors import ConfigError

__all__ = ["BUTTONS", "KEYS", "LOCKS", "MODIFIERS", "key_code"]

_LETTERS = {
    **dict(zip("QWERTYUIOP", range(16, 26), strict=True)),
    **dict(zip("ASDFGHJKL", range(30, 39), strict=True)),
    **dict(zip("ZXCVBNM", range(44, 51), strict=True)),
}

KEYS: Final[dict[str, int]] = {
    "Escape": 1,
    **{f"Digit{(n + 1) % 10}": 2 + n for n in range(10)},
    "Minus": 12, "Equal": 13, "Backspace": 14, "Tab": 15, "BracketLeft": 26, "BracketRight": 27, "Enter": 28,
    "ControlLeft": 29, "Semicolon": 39, "Quote": 40, "Backquote": 41, "ShiftLeft": 42, "Backslash": 43, "Comma": 51,
    "Period": 52, "Slash": 53, "ShiftRight": 54, "NumpadMultiply": 55, "AltLeft": 56, "Space": 57, "CapsLock": 58,
    **{f"Key{letter}": code for letter, code in _LETTERS.items()},
    **{f"F{n}": 58 + n for n in range(1, 11)},
    "NumLock": 69, "ScrollLock": 70, "Numpad7": 71, "Numpad8": 72, "Numpad9": 73, "NumpadSubtract": 74, "Numpad4": 75,
    "Numpad5": 76, "Numpad6": 77, "NumpadAdd": 78, "Numpad1": 79, "Numpad2": 80, "Numpad3": 81, "Numpad0": 82,
    "NumpadDecimal": 83, "Lang5": 85, "IntlBackslash": 86, "F11": 87, "F12": 88, "IntlRo": 89, "Lang3": 90, "Lang4": 91,
    "Convert": 92, "KanaMode": 93, "NonConvert": 94, "NumpadEnter": 96, "ControlRight": 97, "NumpadDivide": 98,
    "PrintScreen": 99, "AltRight": 100, "Home": 102, "ArrowUp": 103, "PageUp": 104, "ArrowLeft": 105, "ArrowRight": 106,
    "End": 107, "ArrowDown": 108, "PageDown": 109, "Insert": 110, "Delete": 111, "AudioVolumeMute": 113,
    "AudioVolumeDown": 114, "AudioVolumeUp": 115, "Power": 116, "NumpadEqual": 117, "Pause": 119, "NumpadComma": 121,
    "Lang1": 122, "Lang2": 123, "IntlYen": 124, "MetaLeft": 125, "MetaRight": 126, "ContextMenu": 127,
    "BrowserStop": 128, "Again": 129, "Undo": 131, "Select": 132, "Copy": 133, "Open": 134, "Paste": 135, "Find": 136,
    "Cut": 137, "Help": 138, "LaunchApp2": 140, "Sleep": 142, "WakeUp": 143, "LaunchMail": 155, "BrowserFavorites": 156,
    "BrowserBack": 158, "BrowserForward": 159, "Eject": 161, "MediaTrackNext": 163, "MediaPlayPause": 164,
    "MediaTrackPrevious": 165, "MediaStop": 166, "BrowserHome": 172, "BrowserRefresh": 173,
    **{f"F{n}": 170 + n for n in range(13, 25)},
    "BrowserSearch": 217,
}  # fmt: skip

# What people say to scripts, in lower case.
_ALIASES: Final = {
    "ctrl": "ControlLeft", "control": "ControlLeft", "shift": "ShiftLeft", "alt": "AltLeft", "altgr": "AltRight",
    "meta": "MetaLeft", "win": "MetaLeft", "super": "MetaLeft", "cmd": "MetaLeft", "esc": "Escape", "return": "Enter",
    "del": "Delete", "ins": "Insert", "up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight",
    "pgup": "PageUp", "pgdn": "PageDown", "print": "PrintScreen", "menu": "ContextMenu",
    "-": "Minus", "=": "Equal", "[": "BracketLeft", "]": "BracketRight", ";": "Semicolon", "'": "Quote",
    "`": "Backquote", "\\": "Backslash", ",": "Comma", ".": "Period", "/": "Slash", " ": "Space",
}  # fmt: skip

MODIFIERS: Final = frozenset(
    KEYS[f"{name}{side}"]
    for name in ("Control", "Shift", "Alt", "Meta")
    for side in ("Left", "Right")
)
LOCKS: Final = frozenset(KEYS[name] for name in ("CapsLock", "NumLock", "ScrollLock"))

BUTTONS: Final = {"left": 0x110, "right": 0x111, "middle": 0x112, "back": 0x113, "forward": 0x114}

_LOWER: Final = {name.lower(): code for name, code in KEYS.items()} | {
    alias: KEYS[name] for alias, name in _ALIASES.items()
}


def key_code(name: str) -> int:
    """The evdev code of a key: "KeyA" or "a", "Digit1" or "1", "Enter", "ctrl", … Raises ConfigError."""
    lower = name.lower()
    for candidate in (lower, f"key{lower}", f"digit{lower}"):
        if candidate in _LOWER:
            return _LOWER[candidate]
    raise ConfigError(
        f"key {name!r}: must be a name from KeyboardEvent.code such as KeyA, Enter, ArrowLeft or F5, or a short one "
        "such as a, 1, ctrl, shift, alt, meta, esc; whole texts are for keyboard.type()"
    )
