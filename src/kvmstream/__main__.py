"""``python -m kvmstream``: the same as the ``kvmstream`` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
