"""Findings for people, as lines, and for programs, as one JSON object."""

import json
from collections.abc import Sequence
from typing import Any, Final

from userservice.app.doctor.findings import Finding, Mark, Step

STEP_WIDTH: Final = max(len(step.value) for step in Step)
MARK_WIDTH: Final = max(len(mark.value) for mark in Mark)

INDENT: Final = STEP_WIDTH + MARK_WIDTH + 4
"""Where the text begins."""


def is_well(findings: Sequence[Finding]) -> bool:
    """Tell whether nothing is wrong; hints may be there."""
    return all(found.mark is not Mark.FAIL for found in findings)


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: what it all comes to."""
    faults = [found for found in findings if found.mark is Mark.FAIL]
    hints = sum(found.mark is Mark.WARN for found in findings)
    hinted = f"{hints} hint{'s' * (hints != 1)}"
    if not faults:
        return f"All is well, with {hinted}." if hints else "All is well."
    others = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"Something is wrong: {faults[0].text}{others}."


def as_json(target: str, *, tls: bool, findings: Sequence[Finding]) -> str:
    """Return everything as one JSON object on one line."""
    document = {
        "target": target,
        "tls": tls,
        "well": is_well(findings),
        "summary": summary(findings),
        "findings": [_as_object(found) for found in findings],
    }
    return json.dumps(document, ensure_ascii=True)


def _as_object(found: Finding) -> dict[str, Any]:
    return {
        "step": found.step.value,
        "mark": found.mark.value,
        "sign": found.sign,
        "text": found.text,
        "why": found.why,
        "mend": found.mend,
        "facts": dict(found.facts),
    }
