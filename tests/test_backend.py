"""Which backend is chosen, and the reasons given."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from kvmstream import ConfigError, _backend


@pytest.fixture
def seam() -> types.ModuleType:
    """A module that exports everything a backend must."""
    module = types.ModuleType("fake")
    for name in _backend.SEAM:
        setattr(module, name, object())
    return module


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, seam: types.ModuleType) -> dict[str, object]:
    """What importing either backend yields: a module, or an ImportError to raise."""
    found: dict[str, object] = {"kvmstream._core": seam, "kvmstream._fallback": seam}

    def import_module(name: str) -> object:
        if isinstance(found[name], ImportError):
            raise found[name]  # type: ignore[misc]
        return found[name]

    monkeypatch.setattr(_backend.importlib, "import_module", import_module)
    monkeypatch.setattr(_backend.importlib.util, "find_spec", lambda name: found.get(name))
    return found


def test_native_first(modules: dict[str, object]) -> None:
    choice = _backend.choose("")
    assert (choice.name, choice.reason) == ("native", "")


def test_python_when_asked_for(modules: dict[str, object]) -> None:
    choice = _backend.choose("python")
    assert choice.name == "python"
    assert choice.reason == "KVMSTREAM_BACKEND=python asks for the fallback"


def test_a_core_that_does_not_load_gives_its_reason(modules: dict[str, object]) -> None:
    modules["kvmstream._core"] = ImportError("libavcodec.so.59: cannot open shared object file")
    choice = _backend.choose("")
    assert choice.name == "python"
    assert "libavcodec.so.59" in choice.reason
    with pytest.raises(ConfigError, match=r"'native' cannot be met: .*libavcodec\.so\.59"):
        _backend.choose("native")


def test_a_pure_wheel_says_what_to_do(modules: dict[str, object]) -> None:
    del modules["kvmstream._core"]
    choice = _backend.choose("")
    assert choice.name == "python"
    assert "the wheel is pure Python" in choice.reason
    assert "KVMSTREAM_REQUIRE_NATIVE=1 pip install" in choice.reason
    with pytest.raises(ConfigError, match="pure Python"):
        _backend.choose("native")


def test_a_core_of_another_version_is_not_used(
    modules: dict[str, object], seam: types.ModuleType
) -> None:
    old = types.ModuleType("old")
    for name in set(_backend.SEAM) - {"captures"}:
        setattr(old, name, object())
    modules["kvmstream._core"] = old
    choice = _backend.choose("")
    assert choice.name == "python"
    assert "lacks captures" in choice.reason


def test_free_threaded_python_never_imports_the_core(
    modules: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    modules["kvmstream._core"] = ImportError("must not be tried")
    monkeypatch.setattr(_backend.sysconfig, "get_config_var", lambda name: 1)
    choice = _backend.choose("")
    assert choice.name == "python"
    assert choice.reason.startswith("free-threaded Python")
    assert "must not be tried" not in choice.reason


def test_a_broken_fallback_names_both_reasons(modules: dict[str, object]) -> None:
    modules["kvmstream._core"] = ImportError("first")
    modules["kvmstream._fallback"] = ImportError("second")
    with pytest.raises(ConfigError, match=r"first.*second"):
        _backend.choose("")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="KVMSTREAM_BACKEND = 'rust': must be native, python"):
        _backend.choose("rust")


@pytest.mark.parametrize("forced", ["python", "nonsense"])
def test_the_environment_variable_reaches_the_public_attribute(forced: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import kvmstream; print(kvmstream.backend)"],
        env={**os.environ, "KVMSTREAM_BACKEND": forced},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if forced == "python":
        assert result.stdout.strip() == "python", result.stderr
    else:
        assert "ConfigError: KVMSTREAM_BACKEND = 'nonsense'" in result.stderr


def test_cache_directory_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform in ("win32", "darwin"):
        pytest.skip("XDG is for the others")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert _backend.cache_dir() == "/var/cache/me/kvmstream"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert _backend.cache_dir() == str(Path.home() / ".cache" / "kvmstream")


def test_every_environment_variable_is_documented() -> None:
    """Whatever KVMSTREAM_* the package mentions stands in _backend's docstring."""
    import re

    package = Path(_backend.__file__).parent
    mentioned: set[str] = set()
    for source in package.rglob("*.py"):
        mentioned |= set(re.findall(r"KVMSTREAM_[A-Z_]*[A-Z]", source.read_text("utf-8")))
    documented = set(re.findall(r"^(KVMSTREAM_[A-Z_]+)", _backend.__doc__ or "", re.MULTILINE))
    assert mentioned <= documented
