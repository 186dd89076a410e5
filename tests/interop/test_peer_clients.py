"""Clients in other languages call our server; each prints what came of it, and all say the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Languages, ServerProgram


@dataclass(frozen=True)
class Outcome:
    """What a client found, and how the server that tells saw it."""

    domain: str
    found: Any
    told: list[str]


@pytest.fixture(scope="module", params=["grpc-js", "grpc-go"])
def outcome(
    request: pytest.FixtureRequest,
    languages: Languages,
    server: ServerProgram,
    shared_telling_server: ServerProgram,
    run: Callable[..., Any],
) -> Outcome:
    """What the client of one language found when it called every method."""
    domain = f"{request.param}.example.com"
    telling = shared_telling_server
    found = run(*languages.client(request.param), server.address, telling.address, domain)
    return Outcome(domain, found, [telling.line() for _ in range(4)])


def test_unary_calls(outcome: Outcome) -> None:
    """Every field comes back as it was sent, stored or changed."""
    unary = outcome.found["unary"]
    created = unary["created"]
    assert created["email"] == f"Ann@{outcome.domain}"
    assert (created["name"], created["avatar"], created["role"]) == ("Änn ☂", "", "ROLE_ADMIN")
    assert created["created_at"] == created["updated_at"]
    assert unary["got"] == created
    assert unary["updated"]["updated_at"] > created["updated_at"]
    changed = {"avatar": "http://new", "updated_at": unary["updated"]["updated_at"]}
    assert unary["updated"] == created | changed
    assert unary["deleted"] == {}


def test_errors_have_details(outcome: Outcome) -> None:
    """Every error says where it comes from, and what it is about."""
    unary = outcome.found["unary"]
    user_id = unary["created"]["id"]
    assert (unary["missing"]["code"], unary["missing"]["resource"]) == (5, user_id)
    assert unary["missing"]["message"] == f"there is no user {user_id}"
    taken = unary["taken"]
    assert (taken["code"], taken["resource"]) == (6, f"Ann@{outcome.domain}")
    invalid = unary["invalid"]
    assert (invalid["code"], invalid["fields"]) == (3, ["email", "name", "role"])
    for error in (unary["missing"], taken, invalid):
        assert error["reason"].startswith("userservice.v1/")


def test_a_list_is_followed_page_by_page(outcome: Outcome) -> None:
    """The pages have every match once, in order, and the total."""
    assert outcome.found["list"] == [
        [5, "User 5", "User 4"],
        [5, "User 3", "User 2"],
        [5, "User 1"],
    ]


def test_a_watch_ends_with_its_user(outcome: Outcome) -> None:
    """A watch brings the state, the update and the end; one of nobody is NOT_FOUND."""
    assert outcome.found["watch"] == {
        "events": [
            ["EVENT_TYPE_UPDATED", "Ann"],
            ["EVENT_TYPE_UPDATED", "Anna"],
            ["EVENT_TYPE_DELETED", "Anna"],
        ],
        "code": 0,
        "nobody": 5,
    }


def test_a_batch_of_a_thousand(outcome: Outcome) -> None:
    """The good ones are stored, and the bad ones named."""
    bad = [f"user{number} at {outcome.domain}" for number in range(0, 1000, 100)]
    assert outcome.found["batch"] == {"created_count": 990, "failed_emails": bad}


def test_a_chat_is_heard_by_all(outcome: Outcome) -> None:
    """Two streams hear each other, and each ends with OK after its half-close."""
    assert outcome.found["chat"] == {
        "heard": [["ann", "Hello"], ["ann", "Hello"], ["ben", "Still here"]],
        "left": 0,
        "codes": [0, 0],
    }


def test_deadlines_and_cancellation_end_on_both_sides(outcome: Outcome) -> None:
    """The client has DEADLINE_EXCEEDED and CANCELLED, and the server nobody who watches."""
    endings = outcome.found["endings"]
    topic = f"users/{endings['id']}"
    assert (endings["deadline"], endings["cancelled"], endings["unimplemented"]) == (4, 1, 12)
    assert outcome.told == [f"listening {topic}", f"left {topic}"] * 2


def test_metadata_goes_both_ways(outcome: Outcome) -> None:
    """Repeated keys and bytes come back before and after the message."""
    metadata = outcome.found["metadata"]
    assert metadata["initial"] == metadata["trailing"]
    # Node.js joins the values of one key, as HTTP allows (RFC 9110 section 5.3).
    assert ", ".join(metadata["initial"]["text"]) == "one, two"
    assert metadata["initial"]["bytes"] == [[0, 255, 44, 32, 10]]
    assert 0 < metadata["time_left"] <= 20
