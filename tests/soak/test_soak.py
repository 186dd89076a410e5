"""A soak of a few seconds; ``nox -s soak`` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.official import figures
from tests.interop.official.figures import Figures
from tests.soak.soak import TOLERANCE_KIB, report

pytestmark = pytest.mark.once

CALLS = 3000


@pytest.mark.skipif(not figures.are_known(), reason="the system does not tell")
def test_nothing_is_left_behind_by_calls_of_every_kind() -> None:
    """After the calls, both processes hold what they held before them."""
    program = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, program, str(CALLS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{CALLS} calls"), done.stdout


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (Figures(30_000 + TOLERANCE_KIB, tasks=1, descriptors=8), 0),
        (Figures(20_000, tasks=1, descriptors=8), 0),
        (Figures(30_001 + TOLERANCE_KIB, tasks=1, descriptors=8), 1),
        (Figures(30_000, tasks=2, descriptors=8), 1),
        (Figures(30_000, tasks=1, descriptors=9), 1),
    ],
)
def test_whatever_is_left_behind_is_told(
    after: Figures, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By either process: more memory than the tolerance, a task, or a file descriptor."""
    before = Figures(30_000, tasks=1, descriptors=8)
    names = ("server", "client")
    assert report(names, (before, before), (after, before)) == status
    assert report(names, (before, before), (before, after)) == status
    assert capsys.readouterr().out.count("NOT as after the warm-up") == 2 * status
