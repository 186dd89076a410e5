"""The whole examination: one step after the other, each on what the one before has found."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from grpclib.const import Status

from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthListRequest
from userservice.app.doctor import tongues
from userservice.app.doctor.answers import Answer, Broken
from userservice.app.doctor.conversation import Conversation, Greeting
from userservice.app.doctor.diagnosis import grpc, http2, reach, tls
from userservice.app.doctor.findings import Finding, Mark, Step
from userservice.app.doctor.handshakes import ContextFactory, Handshake, shake_hands
from userservice.app.doctor.places import Place, attempt, dial, is_address, look_up
from userservice.app.doctor.reflection import (
    VERSIONS,
    ReflectionRequest,
    ReflectionResponse,
    path_of,
)
from userservice.app.doctor.tongues import Heard, Tongue
from userservice.app.doctor.words import Sign, finding
from userservice.rpc.target import Target, host_and_port, parse_target
from userservice.wire.http2 import ErrorCode
from userservice.wire.protobuf import encode

CALLS_MAX: Final = 100
"""How many calls the latency is measured with, at most."""

_NO_METHOD: Final = "/grpc.health.v1.Health/ThereIsNoSuchMethod"
_CHECK: Final = "/grpc.health.v1.Health/Check"
_LIST: Final = "/grpc.health.v1.Health/List"


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is spoken with the server.

    Args:
        make_context: makes the client's context, a new one each time.
        name: the name that the server's certificate is for; None for the target's.
        shows_certificate: whether the client has a certificate of its own.
    """

    make_context: ContextFactory
    name: str | None = None
    shows_certificate: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked at.

    Args:
        target: the server, as `parse_target` takes it.
        tls: how TLS is spoken with it; None for without.
        method: the path of a method that is to be called with an empty message.
        timeout_s: how long each step may wait for the server, in seconds.
    """

    target: str
    tls: Tls | None = None
    method: str | None = None
    timeout_s: float = 5.0


async def examine(question: Question) -> AsyncGenerator[Finding]:
    """Look at an address, and tell what is found as soon as it is.

    Raises:
        TargetError: the text names no target.
    """
    examination = _Examination(question, parse_target(question.target))
    seen: set[Step] = set()
    failed: Step | None = None
    async with aclosing(examination.findings()) as findings:
        async for found in findings:
            seen.add(found.step)
            if found.mark is Mark.FAIL:
                failed = found.step  # the last one: it went on after the others
            yield found
    for step in examination.steps:
        if step not in seen and failed is not None:
            yield finding(Sign.NOT_LOOKED_AT, step, cause=failed.value)


class _Examination:
    """One examination, and what it knows so far.

    Args:
        question: what is looked at.
        target: the server.
    """

    def __init__(self, question: Question, target: Target) -> None:
        self._target = target
        self._tls = question.tls
        self._method = question.method
        self._timeout_s = question.timeout_s
        # gRPC calls a Unix socket localhost (gRPC Name Resolution).
        self._host = target.host or "localhost"
        self._name = (self._tls and self._tls.name) or self._host

    @property
    def steps(self) -> list[Step]:
        """All that would be looked at on a healthy server."""
        left_out = set()
        if self._tls is None:
            left_out |= {Step.CERTIFICATE, Step.ALPN}
        if self._method is None:
            left_out.add(Step.METHOD)
        return [step for step in Step if step not in left_out]

    async def findings(self) -> AsyncGenerator[Finding]:
        """Go on until nothing is left, or nothing can be done."""
        looked_up = await look_up(self._target, self._timeout_s)
        known = self._target.path is not None or is_address(self._host)
        yield reach.of_look_up(self._target, looked_up, is_address=known)
        if not looked_up.places:
            return
        attempts = await asyncio.gather(
            *(attempt(place, self._timeout_s) for place in looked_up.places)
        )
        for found in reach.of_attempts(attempts, self._timeout_s):
            yield found
        alive = [made.place for made in attempts if made.error is None]
        if not alive:
            return
        talk = self._without_tls if self._tls is None else self._with_tls
        async with aclosing(talk(alive[0])) as findings:
            async for found in findings:
                yield found

    async def _without_tls(self, place: Place) -> AsyncGenerator[Finding]:
        try:
            sock = await dial(place, self._timeout_s)
        except OSError:  # a moment ago it worked
            yield finding(Sign.RESET)
            return
        streams = await asyncio.open_connection(sock=sock)
        async with Conversation(streams, "http", self._authority, self._timeout_s) as talk:
            greeting = await talk.greet()
            heard = await self._heard_instead(place, greeting)
            if heard is not None and heard.tongue is Tongue.TLS:
                yield finding(Sign.TLS_EXPECTED)
                return
            yield finding(Sign.TLS_NOT_ASKED_FOR)
            if heard is not None:
                yield http2.of_heard(heard, self._timeout_s, tls=False)
                return
            async with aclosing(self._over_http2(talk, greeting)) as findings:
                async for found in findings:
                    yield found

    async def _with_tls(self, place: Place) -> AsyncGenerator[Finding]:
        assert self._tls is not None
        started = time.perf_counter()
        made = await shake_hands(place, self._name, self._tls.make_context, self._timeout_s)
        seconds = time.perf_counter() - started
        if made.streams is None:
            yield await self._failed_handshake(place, made)
            return
        async with Conversation(made.streams, "https", self._authority, self._timeout_s) as talk:
            greeting = await talk.greet()
            if greeting.end is not None and greeting.end.tls is not None:
                # In TLS 1.3, a server asks for a client's certificate when the handshake is over.
                yield tls.of_alert(
                    greeting.end.tls,
                    self._name,
                    showed_certificate=self._tls.shows_certificate,
                )
                return
            yield tls.of_handshake(made, seconds)
            for found in tls.of_certificate(made, self._name):
                yield found
            yield tls.of_alpn(made)
            heard = _heard_of(greeting)
            if heard is not None:
                yield http2.of_heard(heard, self._timeout_s, tls=True)
                return
            async with aclosing(self._over_http2(talk, greeting)) as findings:
                async for found in findings:
                    yield found

    async def _failed_handshake(self, place: Place, made: Handshake) -> Finding:
        assert self._tls is not None
        assert made.error is not None
        alert = tls.alert_of(made.error)
        if alert is not None:
            return tls.of_alert(alert, self._name, showed_certificate=self._tls.shows_certificate)
        plain, page = await asyncio.gather(
            tongues.listen(place, tongues.HELLO_HTTP2, self._timeout_s),
            tongues.listen(place, tongues.hello_http1(self._authority), self._timeout_s),
        )
        heard = plain if plain.tells or not page.tells else page
        return tls.of_failed_handshake(made.error, heard, self._timeout_s)

    @property
    def _authority(self) -> str:
        if self._target.path is not None:
            return self._host
        # As the resolver asked for it: header fields are ASCII.
        host = self._host if self._host.isascii() else self._host.encode("idna").decode("ascii")
        return host_and_port((host, self._target.port))

    # --- What else is there

    async def _heard_instead(self, place: Place, greeting: Greeting) -> Heard | None:
        """Return what is spoken where no settings came; None where HTTP/2 is."""
        heard = _heard_of(greeting)
        if heard is None or heard.tells:
            return heard
        speaks_tls, page = await asyncio.gather(
            tongues.speaks_tls(place, self._host, self._timeout_s),
            tongues.listen(place, tongues.hello_http1(self._authority), self._timeout_s),
        )
        if speaks_tls:
            return Heard(Tongue.TLS)
        return page if page.tells else heard

    # --- HTTP/2 and gRPC

    async def _over_http2(self, talk: Conversation, greeting: Greeting) -> AsyncGenerator[Finding]:
        settings = greeting.settings
        if settings is None or greeting.goaway is not None or greeting.end is not None:
            yield http2.of_end(greeting.end, greeting.goaway)
            return
        ping_s = await talk.ping()
        if talk.end is not None or talk.goaway() is not None:
            yield http2.of_end(talk.end, talk.goaway())
            return
        found = http2.of_greeting(settings, ping_s, greeting.seconds, self._timeout_s)
        yield found
        if found.mark is Mark.FAIL:
            return
        missing = await talk.ask(_NO_METHOD, b"")
        if talk.goaway() is not None and not missing.http_status:
            yield http2.of_end(talk.end, talk.goaway())
            return
        if missing.broken in (Broken.SILENT, Broken.LOST):
            yield grpc.of_calls(missing, [], self._timeout_s)
            return
        checked = await talk.ask(_CHECK, encode(HealthCheckRequest()))
        version, names, reflected = await self._reflect(talk)
        found = grpc.of_calls(missing, [checked, reflected], self._timeout_s)
        yield found
        if found.mark is Mark.FAIL:
            return
        listed = None
        if checked.status in (Status.OK, Status.NOT_FOUND):
            listed = await talk.ask(_LIST, encode(HealthListRequest()))
        yield grpc.of_health(checked, listed)
        yield grpc.of_reflection(version, names, reflected)
        if self._method is not None:
            answer = await talk.ask(self._method, b"")
            yield grpc.of_method(self._method, answer, names, self._timeout_s)
        yield await self._latency(talk, checked, missing)

    async def _reflect(self, talk: Conversation) -> tuple[str, Sequence[str], Answer]:
        """Return the version of reflection that answered, the services, and the last answer."""
        request = encode(ReflectionRequest(list_services=""))
        for version in VERSIONS:
            answer = await talk.ask(path_of(version), request)
            response = answer.message(ReflectionResponse)
            if response is not None and response.list_services_response is not None:
                listed = response.list_services_response.service
                return version, sorted(service.name for service in listed), answer
            if answer.broken is not None:
                break
        return version, (), answer

    async def _latency(self, talk: Conversation, checked: Answer, missing: Answer) -> Finding:
        kind, path, message = "health checks", _CHECK, encode(HealthCheckRequest())
        if checked.status is not Status.OK:
            kind, path, message = "calls of a method that is not there", _NO_METHOD, b""
        expected = (checked if path == _CHECK else missing).status
        seconds: list[float] = []
        started = time.perf_counter()
        # One at a time: pings instead would make some servers say GOAWAY, too_many_pings.
        while len(seconds) < CALLS_MAX and time.perf_counter() - started < self._timeout_s:
            answer = await talk.ask(path, message)
            if answer.status is not expected:
                goaway = talk.goaway()
                if seconds and goaway is not None and goaway.code == ErrorCode.NO_ERROR:
                    break  # it is not the server that fails: this connection is old enough for it
                return grpc.of_latency(kind, seconds, answer)
            seconds.append(answer.seconds)
        return grpc.of_latency(kind, seconds, None)


def _heard_of(greeting: Greeting) -> Heard | None:
    """Return what is spoken where no settings came; None where HTTP/2 is."""
    if greeting.settings is not None:
        return None
    if greeting.first:
        heard = tongues.tongue_of(greeting.first)
        return None if heard.tongue is Tongue.HTTP2 else heard
    if greeting.end is None:
        return Heard(Tongue.SILENT)
    return Heard(Tongue.RESET if greeting.end.by_reset else Tongue.CLOSED)
