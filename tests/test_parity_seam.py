"""The seam of docs/architecture.md on both backends: its names, and what it tells about the machine."""

from __future__ import annotations

NAMES = {
    "BACKEND",
    "Packet",
    "Pipeline",
    "Subscription",
    "build_info",
    "captures",
    "displays",
    "encoders",
    "screenshot",
    "waiting_calls",
}


def test_the_seam_exports_its_names(backend):
    assert set(dir(backend)) >= NAMES
    assert backend.BACKEND in ("native", "python")


def test_displays_describes_the_monitors(backend, screen):
    found = backend.displays(screen.display)
    assert len(found) == 1
    identity, name, x, y, width, height, scale, refresh, primary = found[0]
    assert identity
    assert name
    assert (x, y, width, height, primary) == (0, 0, 640, 480, True)
    assert scale > 0
    assert refresh >= 0


def test_displays_of_the_environment(backend, screen, monkeypatch):
    monkeypatch.setenv("DISPLAY", screen.display)
    assert backend.displays() == backend.displays(screen.display)


def test_captures_says_why_not(backend, screen):
    working = {name: (ok, why) for name, ok, why in backend.captures(screen.display)}
    assert working["x11"] == (True, "")
    assert working["pattern"] == (True, "")
    broken = {name: (ok, why) for name, ok, why in backend.captures(":4999")}
    assert broken["x11"][0] is False
    assert ":4999" in broken["x11"][1]
    assert broken["pattern"][0]


def test_encoders_gives_a_reason_for_each_refusal(backend):
    found = backend.encoders()
    assert found
    for name, hardware, available, reason in found:
        assert isinstance(name, str)
        assert isinstance(hardware, bool)
        assert available == (reason == "")
    order = [hardware for _, hardware, _, _ in found]
    assert order == sorted(order, reverse=True), "hardware comes first"
    assert ("libx264", False, True, "") in found


def test_build_info_is_text(backend):
    info = backend.build_info()
    assert {"ffmpeg", "ffmpeg_license", "simd"} <= set(info)
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in info.items())
