"""The benchmark as a program: ``python tests/bench/run.py --help``."""

import sys
from pathlib import Path

# The modules here are tests.bench.*, also in the processes that they start.
sys.path[0] = str(Path(__file__).parents[2])

from tests.bench.command import main  # noqa: E402  # needs the path

if __name__ == "__main__":
    sys.exit(main())
