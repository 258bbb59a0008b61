"""`import kvmstream` is cheap: nothing heavy is loaded before it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_HEAVY = [
    "numpy",
    "av",
    "mss",
    "asyncio",
    "kvmstream._core",
    "kvmstream._fallback",
    "argparse",
    "rich",
]


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_import_loads_nothing_heavy() -> None:
    code = "import json, sys; import kvmstream; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(_run(code))
    assert not set(_HEAVY) & set(loaded)


def test_config_and_errors_need_no_array_library() -> None:
    code = (
        "import json, sys; from kvmstream import StreamConfig, ConfigError, displays;"
        "StreamConfig().validate(); print(json.dumps(list(sys.modules)))"
    )
    loaded = json.loads(_run(code))
    assert not {"numpy", "av", "mss"} & set(loaded)


def test_import_is_quick() -> None:
    """Under 60 ms over the interpreter's own start; measured inside, so that a busy machine matters little."""
    code = (
        "import time; begin = time.process_time(); import kvmstream;"
        "print(time.process_time() - begin)"
    )
    best = min(float(_run(code)) for _ in range(5))
    assert best < 0.060


@pytest.mark.parametrize("order", ["av, kvmstream.stream", "kvmstream.stream, av"])
def test_import_order_does_not_matter(order: str) -> None:
    """Two FFmpegs may live in one process: PyAV's and the native core's."""
    code = (
        f"import {order}; import kvmstream; from itertools import islice\n"
        "config = kvmstream.StreamConfig(source='pattern', display='64x48')\n"
        "decoder = kvmstream.Decoder()\n"
        "with kvmstream.Stream(config) as stream:\n"
        "    print([decoder.decode(p).shape for p in islice(stream, 3)][-1])"
    )
    assert _run(code).strip() == "(48, 64, 3)"
