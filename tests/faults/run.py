"""All faults at full size, as a program: it prints the table, and writes the document.

``python tests/faults/run.py [--output FILE] [NAME ...]``; the names are those of attacks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The modules here are tests.*, also in the processes that they start.
sys.path[0] = str(ROOT)

from tests.bench.processes import BenchError, cores, on_core  # noqa: E402  # needs the path
from tests.faults import report  # noqa: E402
from tests.faults.catalog import FAULTS, Fault  # noqa: E402
from tests.faults.measure import Attackers, FaultyServer, Outcome, put  # noqa: E402


def main() -> int:
    """Put the faults, each on a server of its own; 1 where one should not be over its budget."""
    parser = argparse.ArgumentParser(description="Put faults on our server, at full size.")
    parser.add_argument("--output", type=Path, help="the document that is written")
    parser.add_argument("names", nargs="*", choices=[[], *(fault.name for fault in FAULTS)])
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if not arguments.names or fault.name in arguments.names]
    try:
        outcomes = run(faults)
    except BenchError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    print("\n".join(report.table(outcomes)))
    if arguments.output is not None:
        arguments.output.write_text(report.document(outcomes), "utf-8")
    print("\n".join(report.missed(outcomes)), file=sys.stderr)
    return int(any(outcome.misses() and not outcome.fault.over for outcome in outcomes))


def run(faults: list[Fault]) -> list[Outcome]:
    """Put each fault on a server of its own, which has a core of its own."""
    server_core, load_core = cores()
    outcomes = []
    # The healthy client is in this process.
    with tempfile.TemporaryDirectory() as folder, on_core(load_core), Attackers() as attackers:
        for fault in faults:
            log = Path(folder, f"{fault.name}.log")
            with FaultyServer(fault.limits_of(full=True), log, server_core) as server:
                outcome = put(fault, server, attackers, full=True)
            print(f"{fault.name}: {'; '.join(outcome.misses()) or 'ok'}", file=sys.stderr)
            outcomes.append(outcome)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
