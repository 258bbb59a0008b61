"""Say what streaming would use on this machine, and why not something better.

Exit status 0 when streaming would work, 1 when it would not.

examples:
  kvmstream doctor
  kvmstream doctor --json
"""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from importlib import metadata
from typing import TYPE_CHECKING, Any

from kvmstream.errors import KvmStreamError

from . import _common

if TYPE_CHECKING:
    import argparse

# What each encoder takes, for those who miss it.
_WAYS = {
    "h264_nvenc": "an NVIDIA GPU, its proprietary driver 570 or newer, and an FFmpeg with NVENC",
    "h264_qsv": "an Intel GPU, the packages intel-media-va-driver and libmfx-gen1.2, and an FFmpeg with libvpl",
    "h264_amf": "an AMD GPU, its AMF run-time (amf-amdgpu-pro on Linux), and an FFmpeg with AMF",
    "h264_vaapi": "an Intel or AMD GPU with a VA-API driver (intel-media-va-driver, mesa-va-drivers), access to "
    "/dev/dri/renderD128 (group render), and the native backend",
    "h264_mf": "Windows with Media Foundation",
    "h264_videotoolbox": "macOS",
    "libx264": "an FFmpeg with libx264 (a GPL build, as Linux distributions ship it)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this command's arguments."""
    _common.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine the machine and print what was found."""
    findings = examine()
    if arguments.json:
        _common.print_json(findings)
    else:
        _print(findings)
    return 0 if findings["ok"] else 1


def examine() -> dict[str, Any]:
    """Return all findings; "ok" says whether streaming would work, "problems" why not."""
    from kvmstream import __version__

    findings: dict[str, Any] = {
        "ok": False,
        "problems": [],
        "notes": [],
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "backend": None,
        "backend_reason": "",
        "session": _session(),
        "capture": None,
        "encoder": None,
        "displays": [],
        "captures": [],
        "encoders": [],
        "build": {},
        "packages": {name: _package(name) for name in ("av", "mss", "numpy")},
    }
    try:
        _examine_backend(findings)
    except KvmStreamError as error:
        findings["problems"].append(str(error))
    findings["ok"] = not findings["problems"]
    return findings


def _examine_backend(findings: dict[str, Any]) -> None:
    from kvmstream import _backend, encoders

    choice = _backend.selected()
    findings["backend"], findings["backend_reason"] = choice.name, choice.reason
    findings["build"] = choice.module.build_info()

    captures = choice.module.captures()
    keys = ("name", "available", "reason")
    findings["captures"] = [dict(zip(keys, row, strict=True)) for row in captures]
    real = [capture for capture in findings["captures"] if capture["name"] != "pattern"]
    findings["capture"] = next((found["name"] for found in real if found["available"]), None)
    if findings["capture"] is None:
        reasons = "; ".join(f"{found['name']}: {found['reason']}" for found in real)
        findings["problems"].append(f"no screen can be captured ({reasons})")
    else:
        _examine_displays(findings)

    for found in encoders():
        findings["encoders"].append(
            {
                "name": found.name,
                "hardware": found.hardware,
                "available": found.available,
                "reason": found.reason,
                "needs": "" if found.available else _WAYS.get(found.name, ""),
            }
        )
    findings["encoder"] = next((e["name"] for e in findings["encoders"] if e["available"]), None)
    if findings["encoder"] is None:
        findings["problems"].append(
            "no H.264 encoder is available; the list says what each one needs"
        )


def _examine_displays(findings: dict[str, Any]) -> None:
    from kvmstream import displays

    for display in displays():
        findings["displays"].append(
            f"{display.name} {display.width}x{display.height}+{display.x}+{display.y}"
        )
    if findings["session"]["type"] == "wayland":
        findings["notes"].append(
            "this is a Wayland session: X11 capture sees X11 windows only, the rest of the screen stays black. "
            'For now log in to an X11 session ("Xorg" on the login screen).'
        )


def _session() -> dict[str, str]:
    kind = os.environ.get("XDG_SESSION_TYPE", "")
    wayland, x11 = os.environ.get("WAYLAND_DISPLAY", ""), os.environ.get("DISPLAY", "")
    if sys.platform in ("win32", "darwin"):
        kind = sys.platform
    elif kind not in ("x11", "wayland"):
        kind = "wayland" if wayland else "x11" if x11 else "none"
    return {"type": kind, "DISPLAY": x11, "WAYLAND_DISPLAY": wayland}


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _print(findings: dict[str, Any]) -> None:
    session = findings["session"]
    variables = [
        f"{name}={session[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if session[name]
    ]
    _row("kvmstream", f"{findings['version']}, Python {findings['python']}, {findings['platform']}")
    _row(
        "packages", ", ".join(f"{name} {version}" for name, version in findings["packages"].items())
    )
    _row("backend", findings["backend"] or "none")
    if findings["backend_reason"]:
        _row("", f"native is not in use: {findings['backend_reason']}")
    for name, value in findings["build"].items():
        _row("", f"{name.replace('_', ' ')}: {value}")
    _row("session", " ".join([session["type"], *variables]))
    for display in findings["displays"]:
        _row("display", display)
    for capture in findings["captures"]:
        if capture["name"] != "pattern":
            _row("capture", _verdict(capture, findings["capture"]))
    for encoder in findings["encoders"]:
        _row("encoder", _verdict(encoder, findings["encoder"]))
        if encoder["needs"]:
            _row("", f"  needs {encoder['needs']}")
    for note in findings["notes"]:
        _row("note", note)
    print()
    if findings["ok"]:
        print(
            f"Streaming works here: {findings['capture']} capture, {findings['encoder']}, "
            f"{findings['backend']} backend."
        )
        return
    print("Streaming would not work here:")
    for problem in findings["problems"]:
        print(_fill(problem, "  - ", "    "))


def _fill(text: str, first: str, indent: str) -> str:
    # Commands must come out as they can be typed.
    return textwrap.fill(
        text,
        100,
        initial_indent=first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _verdict(found: dict[str, Any], used: str | None) -> str:
    if found["name"] == used:
        return f"{found['name']}: will be used"
    return f"{found['name']}: " + ("available" if found["available"] else f"no: {found['reason']}")


def _row(label: str, text: str) -> None:
    print(_fill(text, f"{label:<11}", " " * 11))
