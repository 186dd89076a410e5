"""What the faults did, as a table and as a document."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from tests.faults.catalog import P99_MAX_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.measure import Outcome

_HEAD: Final = """\
# Faults

What hostile peers do to a server of this project, what they are told, and what it costs the
others. `nox -s faults` puts each fault on a server process of its own and writes this page. The
test suite puts the same ones at a smaller size, each time.

Each peer is a program that writes frames to a socket, as fast as they are taken. It connects again
when it was cut off, for three seconds or more. Beside it, a healthy client makes a call every other
millisecond; one that waits longer counts for all that others would have made meanwhile.

- *p99* is of these calls: the time of the processor that the server used from the request to the
  answer. *By the clock*, it has what other programs on the machine took, too.
- *Loop held* is the longest that one callback kept the server's event loop, likewise.
- *Grown* is by how much the process was larger, at most, and *allowed* by how much it may be.
- *closed*: the connection was closed after what stands before it.

After each fault, the server answers, and no call, stream or connection of the peers is left: that
is looked at too.

"""
_BUDGET: Final = f"""
The budget is a p99 of {P99_MAX_MS:.0f} ms, and the memory that is allowed for each fault. The
limits are the defaults, but for *half a preface* and those like it, where a handshake may take one
second and not ten; for the two PING floods, where gRPC's own rule for pings is off; and for as many
connections as the line says.
"""


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each fault."""
    heads = "Fault", "What the peer saw", "p99, ms", "By the clock", "Loop held, ms", "Grown, MiB"
    lines = [f"| {' | '.join(heads)} | Allowed |", "|---|---|---:|---:|---:|---:|---:|"]
    for outcome in outcomes:
        fault = outcome.fault
        known = f" ({fault.known})" if fault.known else ""
        # In the order in which they are listed, and others after these.
        seen = [what for what in fault.saw if what in outcome.saw]
        seen += [what for what in outcome.saw if what not in fault.saw]
        cells = (
            f"{fault.title}{known}",
            ", ".join(seen),
            f"{outcome.during.p99_ms:.1f}",
            f"{outcome.during.clock_p99_ms:.1f}",
            f"{outcome.held_ms:.1f}",
            f"{max(outcome.grown_mib, 0):.1f}",
            f"{fault.memory_mib:g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each fault that is over its budget, and why, where that is known."""
    return [
        f"- {outcome.fault.title}: {', '.join(misses)}. {outcome.fault.over}".rstrip()
        for outcome in outcomes
        if (misses := outcome.misses())
    ]


def document(outcomes: Sequence[Outcome]) -> str:
    """Return the whole page."""
    where = f"Measured with {platform.python_implementation()} {platform.python_version()}"
    where += f" on {platform.system()}, the server on one core and all others on another.\n\n"
    lines = [*table(outcomes)]
    over = missed(outcomes)
    verdict = ["", "## Over the budget", "", *over] if over else ["", "All are within it."]
    return _HEAD + where + "\n".join(lines) + "\n" + _BUDGET + "\n".join(verdict) + "\n"
