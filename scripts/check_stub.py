"""Holds the committed stub of the native module against the one that the built module gives.

python scripts/check_stub.py            exit status 1 and a diff when they differ
python scripts/check_stub.py --update   writes the committed one anew
"""

import argparse
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "src" / "kvmstream" / "_core.pyi"


def generate() -> str:
    """Stub of the *installed* kvmstream._core: what users get, not what lies in the source tree."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "_core.pyi"
        command = [
            sys.executable,
            "-m",
            "nanobind.stubgen",
            "-q",
            "-m",
            "kvmstream._core",
            "-o",
            str(out),
        ]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise SystemExit(
                "nanobind.stubgen could not describe kvmstream._core "
                f"(is the native core installed?):\n{run.stderr}"
            )
        lines = [line.rstrip() for line in out.read_text(encoding="utf-8").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the committed stub anew")
    options = parser.parse_args()

    generated = generate()
    if options.update:
        STUB.write_text(generated, encoding="utf-8")
        print(f"wrote {STUB}")
        return 0
    committed = STUB.read_text(encoding="utf-8") if STUB.exists() else ""
    if committed == generated:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            committed.splitlines(keepends=True),
            generated.splitlines(keepends=True),
            "src/kvmstream/_core.pyi (committed)",
            "kvmstream._core (built)",
        )
    )
    print(f"\nThe stub is out of date. Update it: {sys.executable} scripts/check_stub.py --update")
    return 1


if __name__ == "__main__":
    sys.exit(main())
