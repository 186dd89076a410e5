"""Workers that end are started again: soon, then seldom, and not all in the same moment."""

import pytest

from userservice.app.workers.restarts import Backoff


def test_the_wait_doubles_up_to_ten_seconds() -> None:
    """From a tenth of a second."""
    backoff = Backoff(lambda: 0.5)
    waits = [backoff.wait_s(0) for _ in range(10)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]


def test_a_worker_that_ran_well_is_started_soon() -> None:
    """Half a minute is well; a few seconds are not."""
    backoff = Backoff(lambda: 0.5)
    for _ in range(5):
        backoff.wait_s(0)
    assert backoff.wait_s(ran_s=5) == 3.2
    assert backoff.wait_s(ran_s=30) == 0.1
    assert backoff.wait_s(ran_s=5) == 0.2


def test_chance_spreads_the_waits() -> None:
    """By a quarter in both directions."""
    assert Backoff(lambda: 0).wait_s(0) == pytest.approx(0.075)
    assert Backoff(lambda: 1).wait_s(0) == pytest.approx(0.125)
