"""What `import kvmstream` costs above the interpreter's own start, and a stream's first use above that.

    python benchmarks/import_time.py
    python benchmarks/import_time.py --runs 100 --json FILE

Starts the interpreter with nothing, with the import and with what it puts off in turn, so that a
busy moment meets them all, and prints the medians in milliseconds and what is above the interpreter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

_PROGRAMS = {
    "interpreter": "pass",
    "import kvmstream": "import kvmstream",
    "with Stream and backend": "import kvmstream; kvmstream.Stream; kvmstream.backend",
}


def _milliseconds(program: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for run in range(-2, options.runs):  # the first two fill the disk's cache and write .pyc files
        for name, program in _PROGRAMS.items():
            taken = _milliseconds(program)
            if run >= 0:
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:24} {value:7.1f} ms {value - medians['interpreter']:+7.1f} ms")
    if options.json:
        options.json.write_text(json.dumps({"runs": options.runs, **medians}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
