"""The fallback's life cycle: imports, exits, forks, garbage, and a server that dies."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kvmstream import _fallback as fallback
from kvmstream import errors


def _python(code, **env):
    """Runs code in a fresh interpreter that treats warnings as errors."""
    source = str(Path(fallback.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([source, *sys.path]), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_is_lazy():
    done = _python(
        "import sys, kvmstream._fallback\n"
        "heavy = {'numpy', 'av', 'mss', 'asyncio', 'concurrent.futures'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_submodules_do_not_shadow_the_seam():
    done = _python(
        "import kvmstream._fallback as f, importlib, pkgutil\n"
        "before = {n: getattr(f, n) for n in f.__all__}\n"
        "for m in pkgutil.iter_modules(f.__path__): importlib.import_module(f'{f.__name__}.{m.name}')\n"
        "assert before == {n: getattr(f, n) for n in f.__all__}"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("ending", ["", "p.stop()", "del p, s", "sys.exit(0)"])
def test_interpreter_exits_cleanly_with_a_running_pipeline(ending):
    done = _python(
        "import sys\n"
        "from kvmstream import _fallback as f\n"
        "p = f.Pipeline(source='pattern', display='fast', region=(0, 0, 320, 240))\n"
        "s = p.subscribe()\n"
        "p.start()\n"
        "for _ in range(5): s.next(10)\n"
        f"{ending}\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_death_of_the_server_leaves_the_process_alive(make_xvfb):
    server = make_xvfb("320x240")
    done = _python(
        "import os, signal, sys\n"
        "from kvmstream import _fallback as f, errors\n"
        f"p = f.Pipeline(display={server.display!r})\n"
        "s = p.subscribe()\n"
        "p.start()\n"
        "s.next(10)\n"
        f"os.kill({server.process.pid}, signal.SIGKILL)\n"
        "try:\n"
        "    while True: s.next(10)\n"
        "except errors.CaptureError as error:\n"
        "    print('survived', error)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("survived")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_so(h264):
    stream = fallback.Pipeline(source="pattern", display="320x240")
    subscription = stream.subscribe()
    stream.start()
    try:
        assert subscription.next(10.0) is not None
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for call in (lambda: subscription.next(1.0), stream.stats, stream.subscribe):
                    with pytest.raises(errors.StreamClosed):
                        call()
                stream.stop()
                stream.join()
                subscription.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert subscription.next(10.0) is not None
    finally:
        stream.stop()
        stream.join()


def test_cyclic_garbage_ends_the_threads():
    class Holder:
        pass

    holder = Holder()
    holder.me = holder
    holder.stream = fallback.Pipeline(source="pattern", display="320x240")
    holder.stream.start()
    del holder
    gc.collect()
    names = [t.name for t in threading.enumerate() if t.name.startswith("kvmstream-")]
    assert names == []


def test_start_and_stop_race():
    for delay in (0.0, 0.01, 0.05):
        stream = fallback.Pipeline(source="pattern", display="320x240")
        timer = threading.Timer(delay, stream.stop)
        timer.start()
        with contextlib.suppress(errors.StreamClosed):
            stream.start()
        timer.join()
        stream.join()
    assert not [t for t in threading.enumerate() if t.name.startswith("kvmstream-")]
