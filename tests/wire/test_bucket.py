"""The token bucket: what is spent comes back with time, and no more than there was."""

from userservice.wire.bucket import TokenBucket


def test_a_burst_is_there_at_once_and_comes_back_with_time() -> None:
    """At any time of the clock, also where it does not begin at 0."""
    bucket = TokenBucket(burst=3, per_s=2)
    assert [bucket.take(1_000) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s() == 0.5
    assert [bucket.take(1_000.5) for _ in range(2)] == [True, False]
    assert not bucket.is_full(1_001.9)
    assert bucket.is_full(1_002)
    assert [bucket.take(9_000) for _ in range(4)] == [True, True, True, False]


def test_what_is_refused_costs_nothing() -> None:
    """Who asks again and again waits no longer."""
    bucket = TokenBucket(burst=1, per_s=1)
    assert bucket.take(1)
    assert not any(bucket.take(1 + n / 100) for n in range(100))
    assert bucket.take(2)


def test_what_is_given_back_can_be_spent_again() -> None:
    """And the bucket holds no more than it did."""
    bucket = TokenBucket(burst=1, per_s=1)
    assert bucket.take(1)
    bucket.give_back()
    bucket.give_back()
    assert [bucket.take(1) for _ in range(2)] == [True, False]


def test_other_earnings_count() -> None:
    """As far as there is room."""
    bucket = TokenBucket(burst=2, per_s=0)
    assert [bucket.take(0), bucket.take(0), bucket.take(0)] == [True, True, False]
    assert [bucket.take(0, 5), bucket.take(0), bucket.take(0)] == [True, True, False]
