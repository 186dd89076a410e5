"""What was measured: medians and spread, the targets, and the tables of both."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from tests.bench.workloads import WORKLOADS, Metrics

THOUSAND = 1000
_PREAMBLE = (
    "Written by `nox -s bench`. Each number is the median of all rounds, with the least and "
    "the most. [How it is measured](README.md) · [chart](results.svg) · "
    "[all rounds](results.json)"
)
_RATIOS = (
    "A ratio says how many times better userservice was in the same round: more calls, or "
    "less time and memory. The last column says it by the processor's time for a call, which "
    "other tenants of the machine change less; verdicts are not by it."
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A number from several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Return the spread of some values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.least == self.most:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)} … {number(self.most)})"


@dataclass(frozen=True, slots=True)
class Target:
    """How many times better one must be than another.

    Args:
        label: what is compared.
        workload: where both were measured.
        column: the number of both.
        peer: the other.
        at_least: how many times better, at least; for a cost, how many times less.
        subject: the one.
    """

    label: str
    workload: str
    column: str
    peer: str
    at_least: float
    subject: str = "ours"


AIO = "grpcio_aio"
TARGETS = (
    *(
        Target(f"Unary 8 x 8, against {label}", "unary", "many", peer, at_least)
        for label, peer, at_least in (
            ("grpcio.aio", AIO, 10),
            ("grpcio with threads", "grpcio_threads", 6),
            ("connectrpc on pyvoy", "connect_pyvoy", 10),
            ("grpclib + betterproto2", "bare_grpclib", 10),
            ("the floor", "floor", 0.2),
        )
    ),
    *(
        Target(f"The same with {name}'s headers, against grpcio.aio", "headers", column, AIO, 6)
        for name, column in (("grpcio", "grpcio"), ("grpc-go", "go"))
    ),
    Target("With everything on, against grpcio.aio", "everything_on", "many", AIO, 5),
    Target("Unary 1 x 1, p50, against grpcio.aio", "unary", "one_p50", AIO, 1),
    *(
        Target(f"{label}, {size}, against grpcio.aio", "streaming", column, AIO, at_least)
        for size, suffix, at_least in (("small", "small", 5), ("64 KiB", "large", 1))
        for label, column in (
            ("Server streaming", f"server_{suffix}"),
            ("Client streaming", f"client_{suffix}"),
            ("Ping-pong", f"bidi_{suffix}"),
        )
    ),
    Target("Client, 64 in flight, against grpcio.aio's", "client", "many", AIO, 2.5),
    Target("Client, 1 in flight, against grpcio.aio's", "client", "one", AIO, 1.3),
    Target("GetUser on SQLite, against grpcio.aio", "sqlite", "get", AIO, 5),
    Target("Time to the first answer, against grpcio.aio", "start", "ready", AIO, 1),
    Target("Memory at the start, against grpcio.aio", "start", "memory", AIO, 1),
    *(
        Target(f"Two workers, 64 x {streams}, against one", "workers", column, "one", 1.8, "two")
        for streams, column in ((1, "single"), (32, "many"))
    ),
    Target("multidict in Python, against multidict in C", "multidict", "many", "ours", 0.9, "pure"),
)


@dataclass(slots=True)
class Results:
    """Everything that was measured.

    Args:
        about: what it was measured with: names and values.
        values: for each workload, subject, and column the value of each round.
        remarks: what went wrong.
        parts: what the benchmarks without a server printed, by their names.
    """

    about: dict[str, str]
    values: dict[str, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)

    def add(self, workload: str, subject: str, turn: int, metrics: Metrics) -> None:
        """Keep what a round measured."""
        columns = self.values.setdefault(workload, {}).setdefault(subject, {})
        for column, value in metrics.items():
            columns.setdefault(column, {})[turn] = value

    def spread(self, workload: str, subject: str, column: str) -> Spread | None:
        """Return a number with its spread, if it was measured."""
        rounds = self.values.get(workload, {}).get(subject, {}).get(column)
        return Spread.of(list(rounds.values())) if rounds else None

    def ratio(self, target: Target, column: str) -> Spread | None:
        """Return how many times better the one was than the other, in the same rounds."""
        subjects = self.values.get(target.workload, {})
        one, other = (
            subjects.get(name, {}).get(column, {}) for name in (target.subject, target.peer)
        )
        both = sorted(one.keys() & other.keys())
        if not both:
            return None
        if WORKLOADS[target.workload].columns[column].less_is_better:
            one, other = other, one
        return Spread.of([one[turn] / other[turn] for turn in both])

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a JSON document."""
        return {
            "about": self.about,
            "values": self.values,
            **{name: text.splitlines() for name, text in self.parts.items()},
            "remarks": self.remarks,
        }

    def as_markdown(self) -> str:
        """Return all of it as a page."""
        parts = [
            "# What the benchmark measured",
            _PREAMBLE,
            table(["Measured with", ""], [[name, text] for name, text in self.about.items()]),
        ]
        parts += self.tables()
        return "\n\n".join(parts) + "\n"

    def tables(self) -> list[str]:
        """Return a table of the targets, one for each workload, and what went wrong."""
        parts = []
        targets = self._targets()
        if targets:
            parts += [
                "## Targets",
                _RATIOS,
                table(["Compared", "Ratio", "Target", "Verdict", "Ratio of CPU a call"], targets),
            ]
        for name in self.values:
            parts += [f"## {WORKLOADS[name].title}", self._workload(name)]
        for name, text in self.parts.items():
            parts += [f"## {name.title()}", f"```text\n{text.strip()}\n```"]
        if self.remarks:
            parts += ["## Remarks", "\n".join(f"- {remark}" for remark in self.remarks)]
        return parts

    def _targets(self) -> list[list[str]]:
        rows = []
        for target in TARGETS:
            ratio = self.ratio(target, target.column)
            if ratio is None:
                continue
            verdict = "pass" if ratio.median >= target.at_least else "**fail**"
            by_cpu = self.ratio(target, f"{target.column}_cpu")
            rows.append(
                [
                    target.label,
                    str(ratio),
                    number(target.at_least),
                    verdict,
                    "" if by_cpu is None else str(by_cpu),
                ]
            )
        return rows

    def _workload(self, name: str) -> str:
        workload = WORKLOADS[name]
        shown = {
            column: about
            for column, about in workload.columns.items()
            if any(column in measured for measured in self.values[name].values())
        }
        rows = [
            [label, *(self._cell(name, subject, column) for column in shown)]
            for subject, label in workload.labels.items()
            if subject in self.values[name]
        ]
        return table(["", *(f"{about.label}, {about.unit}" for about in shown.values())], rows)

    def _cell(self, workload: str, subject: str, column: str) -> str:
        spread = self.spread(workload, subject, column)
        return "" if spread is None else str(spread)


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if abs(value) >= THOUSAND:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, aligned so that it can be read as it is."""
    lines = [head, *rows]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(head))]
    dashes = [
        "-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)
    ]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (head, dashes, *rows)
    )
