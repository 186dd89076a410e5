"""Each connection has one owner, and the workers have equally many."""

import random

from userservice.app.workers.handover import UNTOLD_MAX, Ledger


def test_a_connection_is_the_workers_when_it_told_so() -> None:
    """In the order in which they were handed; what it did not take is given back."""
    ledger: Ledger[str] = Ledger()
    for turn, name in enumerate("abc"):
        ledger.handed(name, turn)
    assert ledger.oldest == "a"
    assert ledger.took() == "a"
    assert ledger.load == 3
    assert ledger.not_taken() == ["b", "c"]
    assert ledger.load == 1
    ledger.closed()
    assert ledger.load == 0
    assert ledger.not_taken() == []


def test_a_worker_that_does_not_tell_is_handed_no_more() -> None:
    """It may be about to die: what waits elsewhere is not lost with it."""
    ledger: Ledger[int] = Ledger()
    for number in range(UNTOLD_MAX):
        assert ledger.has_room
        ledger.handed(number, number)
    assert not ledger.has_room
    ledger.took()
    assert ledger.has_room


def test_the_fewest_connections_come_first_and_then_who_waited() -> None:
    """So connections are spread evenly, also where they come and go."""
    ledgers: list[Ledger[int]] = [Ledger() for _ in range(4)]
    chance = random.Random(1)
    for turn in range(1000):
        taker = min(ledgers, key=lambda ledger: ledger.rank)
        taker.handed(turn, turn)
        taker.took()
        loads = [ledger.load for ledger in ledgers]
        assert max(loads) - min(loads) <= 1, loads
        if turn % 3 == 0:
            max(chance.sample(ledgers, 4), key=lambda ledger: ledger.load).closed()
    idle: list[Ledger[int]] = [Ledger() for _ in range(3)]
    order = []
    for turn in range(6):
        taker = min(idle, key=lambda ledger: ledger.rank)
        taker.handed(turn, turn + 1)
        taker.took()
        taker.closed()
        order.append(idle.index(taker))
    assert order == [0, 1, 2, 0, 1, 2]
