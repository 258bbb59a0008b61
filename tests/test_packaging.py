"""What `pip install` gives: the native wheel, the pure one, and what a failed build says."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "CMakeLists.txt").exists(), reason="needs the source tree, not only the tests"
)
needs_backend = pytest.mark.skipif(
    importlib.util.find_spec("scikit_build_core") is None,
    reason="needs the build requirements: pip install --group build",
)


# Whatever steers a build; the tests below set it themselves.
STEERING = ("KVMSTREAM_", "CIBUILDWHEEL", "CONDA_BUILD", "CMAKE_", "SKBUILD", "CXX", "FFMPEG_PATH")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without anything that steers a build, and with `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
    return {**kept, "CMAKE_BUILD_PARALLEL_LEVEL": "2", **changes}


def run_words(command: list[str], timeout: float = 300, **options: Any) -> tuple[int, str]:
    """Exit status and all that was said, line breaks undone (CMake wraps its messages)."""
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    return run.returncode, " ".join((run.stdout + run.stderr).split())


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, as the build back end packs it."""
    out = tmp_path_factory.mktemp("sdist")
    code = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, out], cwd=ROOT, env=environment(), check=True)
    (archive,) = out.glob("kvmstream-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def source(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution: every wheel below is built from it, so it must be whole."""
    out = tmp_path_factory.mktemp("source")
    # Debian 12's Python 3.11.2 has no filters yet; from 3.12 on their absence is a warning.
    options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(sdist) as archive:
        archive.extractall(out, **options)
    (folder,) = out.iterdir()
    return folder


class Built(NamedTuple):
    """What one `pip wheel` came to."""

    status: int
    words: str
    wheel: Path | None


def build_wheel(source: Path, tmp_path: Path, **changes: str) -> Built:
    """One `pip wheel` in a build directory of its own."""
    out = tmp_path / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-cache-dir", "-C", f"build-dir={tmp_path / 'build'}"]
    command += ["-w", str(out), str(source)]
    status, words = run_words(command, env=environment(**changes))
    wheels = list(out.glob("*.whl"))
    assert len(wheels) <= 1
    return Built(status, words, wheels[0] if wheels else None)


@pytest.fixture
def broken_compiler(tmp_path: Path) -> Path:
    """A C++ compiler that starts and fails."""
    path = tmp_path / "broken-c++"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return path


def package_sources() -> set[str]:
    """Every file of the package, as a wheel names it."""
    folder = ROOT / "src"
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".typed", ".js", ".css", ".html"}
    } | {"kvmstream/py.typed"}


@needs_backend
def test_sdist_holds_all_that_is_needed_and_nothing_made(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for needed in (
        "CMakeLists.txt",
        "CMakePresets.json",
        "LICENSE",
        "Makefile",
        "README.md",
        "cmake/Dependencies.cmake",
        "cmake/deps/build_deps.sh",
        "cpp/CMakeLists.txt",
        "cpp/bindings/CMakeLists.txt",
        "cpp/bindings/module.cpp",
        "cpp/tests/CMakeLists.txt",
        "pyproject.toml",
        "scripts/lib.sh",
        "tests/test_packaging.py",
    ):
        assert needed in names
    assert {f"src/{name}" for name in package_sources()} <= names
    made = re.compile(
        r"(^|/)(build|dist|\.venv[^/]*|__pycache__|\.git|\..*_cache)/|\.(mp4|pyc|so)$"
    )
    assert not [name for name in names if made.search(name)]


@needs_backend
def test_pure_wheel_on_request(source: Path, tmp_path: Path) -> None:
    built = build_wheel(source, tmp_path, KVMSTREAM_PURE="1")
    assert built.wheel is not None, built.words
    assert built.wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        scripts = next(name for name in names if name.endswith("entry_points.txt"))
        assert "kvmstream = kvmstream.cli:main" in archive.read(scripts).decode()
    assert package_sources() <= names
    assert {"kvmstream/_core.pyi", "kvmstream/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith(("kvmstream/", "kvmstream-"))]
    native = (".so", ".pyd", ".a", ".cpp", ".hpp", "kvmstream-probe")
    assert not [name for name in names if name.endswith(native)]


@needs_backend
def test_pure_wheel_where_the_compiler_is_broken(
    source: Path, tmp_path: Path, broken_compiler: Path
) -> None:
    built = build_wheel(source, tmp_path, CXX=str(broken_compiler))
    assert built.wheel is not None, built.words
    assert built.wheel.name.endswith("-py3-none-any.whl")


@needs_backend
@pytest.mark.parametrize("demand", ["KVMSTREAM_REQUIRE_NATIVE", "CIBUILDWHEEL"])
def test_required_native_core_fails_and_names_the_compiler(
    source: Path, tmp_path: Path, broken_compiler: Path, demand: str
) -> None:
    built = build_wheel(source, tmp_path, CXX=str(broken_compiler), **{demand: "1"})
    assert built.status != 0
    assert built.wheel is None
    assert "a C++20 compiler" in built.words
    assert "sudo apt-get install g++" in built.words
    assert "the native core was required" in built.words


@needs_backend
def test_missing_ffmpeg_is_named_with_its_command(source: Path, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    built = build_wheel(source, tmp_path, KVMSTREAM_REQUIRE_NATIVE="1", PKG_CONFIG_LIBDIR=nowhere)
    assert built.wheel is None
    assert "FFmpeg (libavcodec >= 59.37, that is FFmpeg 5.1) was not found" in built.words
    assert "sudo apt-get install libavcodec-dev libavutil-dev" in built.words
    assert "KVMSTREAM_PURE=1" in built.words


@needs_backend
def test_missing_libxcb_is_named_with_its_command(source: Path, tmp_path: Path) -> None:
    status, paths = run_words(["pkg-config", "--variable", "pc_path", "pkg-config"])
    assert status == 0
    all_but_xcb = tmp_path / "pkgconfig"
    all_but_xcb.mkdir()
    for folder in paths.split(":"):
        for file in Path(folder).glob("*.pc"):
            if not file.name.startswith("xcb") and not (all_but_xcb / file.name).exists():
                (all_but_xcb / file.name).symlink_to(file)
    built = build_wheel(
        source, tmp_path, KVMSTREAM_REQUIRE_NATIVE="1", PKG_CONFIG_LIBDIR=str(all_but_xcb)
    )
    assert built.wheel is None
    assert "libxcb (" in built.words
    assert re.search(r"sudo apt-get install libxcb1-dev .*libxcb-damage0-dev", built.words)


@needs_backend
def test_ffmpeg_path_without_an_ffmpeg_is_refused(source: Path, tmp_path: Path) -> None:
    built = build_wheel(source, tmp_path, KVMSTREAM_REQUIRE_NATIVE="1", FFMPEG_PATH=str(tmp_path))
    assert built.wheel is None
    assert f"FFMPEG_PATH={tmp_path}" in built.words
    assert "libavcodec.pc" in built.words


@needs_backend
def test_free_threaded_interpreters_get_the_pure_wheel(source: Path, tmp_path: Path) -> None:
    # The back end asks sysconfig for the ABI flags; a free-threaded interpreter answers "t".
    code = (
        "import sys, sysconfig\n"
        "sysconfig.get_config_vars()['ABIFLAGS'] = 't'\n"
        "from scikit_build_core.build import build_wheel\n"
        "print('made', build_wheel(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    _, words = run_words(command, cwd=source, env=environment())
    assert re.search(r"made kvmstream-\S+-py3-none-any\.whl", words), words


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cmake = re.search(r"project\(kvmstream VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    assert cmake is not None
    assert cmake[1] == version
    assert f"[{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_build_requirements_are_the_same_in_both_places() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(settings["build-system"]["requires"]) <= set(settings["dependency-groups"]["build"])


@pytest.fixture
def native_files() -> dict[str, Path]:
    """The installed native package's files. KVMSTREAM_REQUIRE_NATIVE makes its absence a failure."""
    try:
        found = importlib.metadata.files("kvmstream") or []
    except importlib.metadata.PackageNotFoundError:
        found = []
    files = {str(path): Path(str(path.locate())) for path in found}
    if not any(re.match(r"kvmstream/_core\..*so$", name) for name in files):
        absent = "the native core is not installed in this environment"
        if os.environ.get("KVMSTREAM_REQUIRE_NATIVE", "0") not in ("", "0"):
            pytest.fail(f"{absent}: {sorted(files)}")
        pytest.skip(absent)
    return files


@pytest.mark.native
def test_installed_native_package_is_complete(native_files: dict[str, Path]) -> None:
    assert package_sources() <= set(native_files)
    assert os.access(native_files["kvmstream/_bin/kvmstream-probe"], os.X_OK)
    own_suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    suffix = ".abi3.so" if sys.version_info >= (3, 12) else own_suffix
    modules = [name for name in native_files if re.match(r"kvmstream/_core\..*so$", name)]
    assert modules == [f"kvmstream/_core{suffix}"]


@pytest.mark.native
def test_native_module_exports_nothing_but_its_entry(native_files: dict[str, Path]) -> None:
    # PyAV's FFmpeg lives in the same process: no symbol of either may be bound by the other.
    (module,) = (
        path for name, path in native_files.items() if re.match(r"kvmstream/_core\..*so$", name)
    )
    status, words = run_words(["nm", "-D", "--defined-only", str(module)])
    assert status == 0, words
    assert words.split()[2:] == ["PyInit__core"]


@pytest.mark.parametrize(
    ("tools", "command"),
    [
        ("apt-get() { :; }", "sudo apt-get install debian-name"),
        ("dnf() { :; }; have() { [ $1 = dnf ]; }", "sudo dnf install fedora-name"),
    ],
)
def test_setup_without_root_names_the_command(tools: str, command: str) -> None:
    script = (
        "source scripts/lib.sh; id() { echo 1000; }; sudo() { return 1; }; "
        "needs_table() { echo 'build|cmd no-such-tool|debian-name|fedora-name'; }; "
        f"{tools}; need_system build; echo went on"
    )
    status, words = run_words(["bash", "-c", script], cwd=ROOT)
    assert status == 1
    assert command in words
    assert "went on" not in words


def test_setup_as_root_installs_what_is_missing(tmp_path: Path) -> None:
    fake = tmp_path / "apt-get"
    fake.write_text(f'#!/bin/sh\necho "$DEBIAN_FRONTEND: $*" >>{tmp_path}/calls\n')
    fake.chmod(0o755)
    script = (
        "source scripts/lib.sh; id() { echo 0; }; "
        "needs_table() { echo 'build test|cmd no-such-tool|debian-name|fedora-name'; "
        "echo 'bench|cmd no-such-tool|other-name|other-name'; echo 'build|cmd sh|sh|sh'; }; "
        "need_system build; echo went on"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    status, words = run_words(["bash", "-c", script], cwd=ROOT, env={**environment(), "PATH": path})
    assert status == 0, words
    assert words.endswith("went on")
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith("update -q")
    assert install.startswith("noninteractive: ")
    assert install.endswith("install -y -q --no-install-recommends debian-name")


def test_setup_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    status, words = run_words(
        ["bash", "-c", "source scripts/lib.sh; find_python; echo went on"],
        cwd=ROOT,
        env={**environment(), "PYTHON": str(old)},
    )
    assert status == 1
    assert f"PYTHON={old} is not a Python 3.11 or newer" in words
    assert "went on" not in words
