"""What the answers of calls mean."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from grpclib.const import Status

from userservice._gen.grpc.health.v1 import (
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListResponse,
)
from userservice.app.doctor.answers import Answer, Broken
from userservice.app.doctor.findings import Finding, milliseconds
from userservice.app.doctor.words import Sign, finding

_MESSAGE_MAX: Final = 200  # of what a server says about a status

_ASKS_WHO: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED)
# What a method says that an empty message does not suit, or is for another state.
_ANSWERS: Final = (
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.FAILED_PRECONDITION,
    Status.ABORTED,
    Status.OUT_OF_RANGE,
)


def of_calls(missing: Answer, others: Sequence[Answer], timeout_s: float) -> Finding:
    """Return whether this is gRPC.

    Args:
        missing: what a method that is not there answers.
        others: what methods answer that may be there.
        timeout_s: how long an answer could take.
    """
    if missing.speaks_grpc:
        return _of_grpc(missing)
    if any(other.outcome is not None for other in others) and missing.http_status:
        return finding(Sign.GRPC_BESIDE, http=missing.http_status, **_page(missing))
    if missing.broken is Broken.SILENT and not missing.http_status:
        return finding(Sign.GRPC_SILENT, timeout_s=timeout_s)
    if missing.broken is Broken.RESET and not missing.http_status:
        return finding(Sign.GRPC_RESET, reason=missing.fault)
    if not missing.http_status:
        return finding(Sign.GRPC_LOST, reason=missing.fault)
    return _of_page(missing)


def _of_grpc(answer: Answer) -> Finding:
    status = answer.status
    if status is None:
        return finding(Sign.TRAILERS_LOST, **_page(answer))
    facts = _status_facts(answer)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.GRPC, **facts)
    if status in _ASKS_WHO:
        return finding(Sign.GRPC_ASKS_WHO, **facts)
    if status is Status.UNAVAILABLE:
        return finding(Sign.GRPC_UNAVAILABLE, **facts, **_page(answer))
    return finding(Sign.GRPC_ODD, **facts)


def _of_page(answer: Answer) -> Finding:
    """Return what it means that HTTP/2 is answered without gRPC."""
    facts = _page(answer) | {"http": answer.http_status}
    status = answer.http_status
    if status in ("502", "503", "504"):
        return finding(Sign.HTTP_GATEWAY, **facts)
    if status == "404":
        return finding(Sign.HTTP_NO_ROUTE, **facts)
    if status in ("401", "403", "407"):
        return finding(Sign.HTTP_ASKS_WHO, **facts)
    if status.startswith("3") and answer.field("location"):
        return finding(Sign.HTTP_REDIRECT, **facts, location=answer.field("location"))
    return finding(Sign.NOT_GRPC, **facts)


def _page(answer: Answer) -> dict[str, Any]:
    return {
        "content_type": answer.content_type or "without a content-type",
        "server": answer.field("server"),
        "body": answer.snippet,
    }


def _status_facts(answer: Answer) -> dict[str, Any]:
    outcome = answer.outcome
    assert outcome is not None
    return {"status": outcome.status.name, "message": (outcome.message or "")[:_MESSAGE_MAX]}


def of_health(  # noqa: PLR0911  # each status means something else
    checked: Answer, listed: Answer | None
) -> Finding:
    """Return what the health service says.

    Args:
        checked: what Check answers for the server as a whole.
        listed: what List answers, where it was asked.
    """
    status = checked.status
    if status is None:
        if checked.http_status and not checked.speaks_grpc:
            return finding(Sign.HEALTH_MISSING, status=f"HTTP {checked.http_status}")
        return finding(Sign.HEALTH_FAILED, reason=_reason_of(checked))
    facts = _status_facts(checked)
    statuses = _listed(listed)
    if status in _ASKS_WHO:
        return finding(Sign.HEALTH_ASKS_WHO, **facts)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.HEALTH_MISSING, **facts)
    if status is Status.NOT_FOUND:
        return finding(Sign.HEALTH_NO_OVERALL, **facts, statuses=statuses)
    response = checked.message(HealthCheckResponse)
    if status is not Status.OK or response is None:
        return finding(Sign.HEALTH_FAILED, reason=_reason_of(checked))
    return _of_health_status(response.status, statuses)


def _of_health_status(whole: HealthCheckResponseServingStatus, statuses: dict[str, str]) -> Finding:
    if whole is not HealthCheckResponseServingStatus.SERVING:
        return finding(Sign.NOT_SERVING, status=_serving(whole), statuses=statuses)
    off = [f"{name} is {status}" for name, status in statuses.items() if status != "SERVING"]
    if off:
        return finding(Sign.SERVICE_NOT_SERVING, not_serving=off, statuses=statuses)
    return finding(Sign.SERVING, services=list(statuses), statuses=statuses)


def _listed(answer: Answer | None) -> dict[str, str]:
    """Return the status of each service that List names, but for the server as a whole."""
    response = None if answer is None else answer.message(HealthListResponse)
    if response is None:
        return {}
    found = {name: _serving(each.status) for name, each in sorted(response.statuses.items())}
    found.pop("", None)
    return found


def _serving(status: HealthCheckResponseServingStatus) -> str:
    return status.name or str(int(status))


def of_reflection(version: str, names: Sequence[str], answer: Answer) -> Finding:
    """Return what reflection lists.

    Args:
        version: which one answered.
        names: the services; none where it did not answer.
        answer: the last answer.
    """
    if names:
        sign = Sign.REFLECTION if version == "v1" else Sign.REFLECTION_OLD
        return finding(sign, services=list(names), version=version)
    if answer.status is Status.UNIMPLEMENTED or (answer.http_status and not answer.speaks_grpc):
        return finding(Sign.REFLECTION_MISSING)
    return finding(Sign.REFLECTION_FAILED, reason=_reason_of(answer))


def of_method(  # noqa: PLR0911  # each status means something else
    path: str, answer: Answer, known: Sequence[str], timeout_s: float
) -> Finding:
    """Return what a method answers to an empty message."""
    facts: dict[str, Any] = {"method": path.removeprefix("/"), "ms": milliseconds(answer.seconds)}
    status = answer.status
    if status is None:
        if answer.broken is Broken.SILENT and answer.has_message:
            return finding(Sign.METHOD_STREAMS, **facts, timeout_s=timeout_s)
        return finding(Sign.METHOD_FAILED, **facts, reason=_reason_of(answer))
    facts |= _status_facts(answer)
    if status is Status.OK:
        return finding(Sign.METHOD_OK, **facts)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.METHOD_MISSING, **facts, known=list(known))
    if status in _ASKS_WHO:
        return finding(Sign.METHOD_ASKS_WHO, **facts)
    if status in _ANSWERS:
        return finding(Sign.METHOD_ANSWERS, **facts)
    return finding(Sign.METHOD_FAILED, **facts, reason=_reason_of(answer))


def of_latency(kind: str, seconds: Sequence[float], failed: Answer | None) -> Finding:
    """Return how long calls took, one after the other."""
    if failed is not None:
        reason = _reason_of(failed)
        return finding(Sign.LATENCY_LOST, count=len(seconds) + 1, reason=reason)
    ordered = sorted(seconds)
    return finding(
        Sign.LATENCY,
        kind=kind,
        count=len(ordered),
        p50_ms=milliseconds(statistics.median(ordered)),
        p99_ms=milliseconds(ordered[math.ceil(len(ordered) * 0.99) - 1]),
        max_ms=milliseconds(ordered[-1]),
    )


def _reason_of(answer: Answer) -> str:
    """Return why an answer is not what was hoped for, in a few words."""
    if answer.outcome is not None:
        facts = _status_facts(answer)
        message = f" ({facts['message']})" if facts["message"] else ""
        return f"{facts['status']}{message}"
    if answer.broken is Broken.SILENT:
        return f"no answer within {answer.seconds:.1f} s"
    if answer.broken is not None:
        return answer.fault
    if answer.speaks_grpc:
        return "the answer has no grpc-status"
    return f"HTTP {answer.http_status}, {answer.content_type or 'without a content-type'}"
