"""What is found out about an address: one finding for each step, or more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    WARN = "warn"
    """A hint: it works, and could be better."""
    FAIL = "fail"
    SKIP = "skip"
    """Not looked at: not asked for, or impossible after what failed before."""


class Step(StrEnum):
    """What is looked at, in this order."""

    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    CERTIFICATE = "certificate"
    ALPN = "alpn"
    HTTP2 = "http/2"
    GRPC = "grpc"
    HEALTH = "health"
    REFLECTION = "reflection"
    METHOD = "method"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step found.

    Args:
        step: the step.
        mark: how it is meant.
        sign: what was found, as a name that stays the same for programs.
        text: what was found, in words.
        why: what that means; empty where all is well.
        mend: what to do about it.
        facts: what was measured and read, for programs.
    """

    step: Step
    mark: Mark
    sign: str
    text: str
    why: str = ""
    mend: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def milliseconds(seconds: float) -> float:
    """Return a time as the facts have it."""
    return round(seconds * 1000, 3)
