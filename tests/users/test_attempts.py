"""How often somebody may try."""

import pytest

from userservice.rpc.middleware.callers import network_of
from userservice.users.attempts import Allowance, Attempts


class Clock:
    """A clock that is set by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tried(attempts: Attempts, key: str, times: int) -> None:
    """Try so often, if that is allowed."""
    for _ in range(times):
        assert attempts.wait_s(key) == 0
        attempts.take(key)


def test_there_are_so_many_at_once_and_more_in_time() -> None:
    """Each key has its own; one comes back after another."""
    clock = Clock()
    attempts = Attempts(Allowance(at_once=3, every_s=10), clock)
    tried(attempts, "ann", 3)
    assert attempts.wait_s("ann") == pytest.approx(10)
    assert attempts.wait_s("bob") == 0
    clock.now += 4
    assert attempts.wait_s("ann") == pytest.approx(6)
    clock.now += 6
    tried(attempts, "ann", 1)
    assert attempts.wait_s("ann") == pytest.approx(10)
    clock.now += 1_000
    tried(attempts, "ann", 3)
    assert attempts.wait_s("ann") == pytest.approx(10)


def test_what_succeeds_does_not_count() -> None:
    """One attempt is given back, or all of them."""
    attempts = Attempts(Allowance(at_once=2, every_s=10), Clock())
    for _ in range(10):
        tried(attempts, "ann", 1)
        attempts.give_back("ann")
    tried(attempts, "ann", 2)
    assert attempts.wait_s("ann") > 0
    attempts.forget("ann")
    tried(attempts, "ann", 2)
    attempts.give_back("nobody")
    attempts.forget("nobody")


def test_only_so_many_keys_are_kept() -> None:
    """Whoever tried least recently is forgotten: the memory is bounded."""
    attempts = Attempts(Allowance(at_once=1, every_s=10), Clock(), kept_max=3)
    for key in "abc":
        tried(attempts, key, 1)
    attempts.take("a")
    tried(attempts, "d", 1)
    assert len(attempts._full_at) == 3
    assert attempts.wait_s("b") == 0
    assert attempts.wait_s("a") > 10


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.7:50000", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:50000", "192.0.2.7"),
        ("[2001:db8:1:2:3:4:5:6]:50000", "2001:db8:1:2::/64"),
        ("[fe80::1%eth0]:50000", "fe80::/64"),
        ("unix", None),
    ],
)
def test_an_address_counts_as_what_one_host_has(peer: str, key: str | None) -> None:
    """All of a /64; one IPv4 address however it is written; a Unix socket has none."""
    assert network_of(peer) == key
