"""The chart: bars of the medians, with a line from the least to the most."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tests.bench.results import number
from tests.bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from tests.bench.results import Results

PANELS = (
    ("unary", "many"),
    ("headers", "grpcio"),
    ("headers", "go"),
    ("streaming", "server_small"),
    ("streaming", "client_small"),
    ("streaming", "bidi_small"),
    ("streaming", "server_large"),
    ("streaming", "client_large"),
    ("streaming", "bidi_large"),
    ("client", "many"),
    ("sqlite", "get"),
)
TITLES = {
    "unary": "Unary",
    "headers": "Unary, changing headers",
    "streaming": "Streams",
    "client": "Client",
    "sqlite": "On SQLite",
}
# Not a server that anybody would compare: its bars would make the others short.
LEFT_OUT = {"floor"}
COLOURS = {"ours": "#2563a8"}
OTHERS = "#9aa5b1"
WIDTH, PANEL_WIDTH, COLUMNS = 1200, 600, 2
LABEL_WIDTH, BAR_WIDTH = 180, 280
LINE, BAR, TITLE = 24, 14, 40


def svg(results: Results) -> str:
    """Draw what was measured."""
    panels = [drawn for workload, column in PANELS if (drawn := _panel(results, workload, column))]
    height = 0
    parts = []
    for place in range(0, len(panels), COLUMNS):
        row = panels[place : place + COLUMNS]
        parts += [
            f'<g transform="translate({position * PANEL_WIDTH},{height})">{"".join(lines)}</g>'
            for position, lines in enumerate(row)
        ]
        height += TITLE + LINE * max((len(lines) - 1) // 4 for lines in row) + LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(results: Results, workload: str, column: str) -> list[str]:
    """Return a title, and for each bar four elements."""
    about = WORKLOADS[workload]
    spreads = {
        subject: spread
        for subject in about.labels
        if subject not in LEFT_OUT and (spread := results.spread(workload, subject, column))
    }
    if not spreads:
        return []
    scale = BAR_WIDTH / max(spread.most for spread in spreads.values())
    title = f"{TITLES[workload]}: {about.columns[column].label}, {about.columns[column].unit}"
    lines = [f'<text x="20" y="26" font-weight="bold">{escape(title)}</text>\n']
    for place, (subject, spread) in enumerate(spreads.items()):
        top = TITLE + place * LINE
        middle, base = top + BAR / 2, top + BAR - 2
        length, least, most = (
            value * scale for value in (spread.median, spread.least, spread.most)
        )
        lines += [
            f'<text x="20" y="{base}">{escape(about.labels[subject])}</text>\n',
            (
                f'<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{BAR}" '
                f'fill="{COLOURS.get(subject, OTHERS)}"/>\n'
            ),
            (
                f'<line x1="{LABEL_WIDTH + least:.1f}" x2="{LABEL_WIDTH + most:.1f}" '
                f'y1="{middle}" y2="{middle}" stroke="#1f2933" stroke-width="2"/>\n'
            ),
            f'<text x="{LABEL_WIDTH + most + 8:.1f}" y="{base}">{number(spread.median)}</text>\n',
        ]
    return lines
