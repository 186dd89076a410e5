"""The soak as a program: ``python tests/soak/run.py CALLS``."""

import asyncio
import sys
from pathlib import Path

# The modules here are tests.*, also in the process that they start.
sys.path[0] = str(Path(__file__).parents[2])

from tests.soak.soak import run  # noqa: E402  # needs the path

if __name__ == "__main__":
    sys.exit(asyncio.run(run(int(sys.argv[1]))))
