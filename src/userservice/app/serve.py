"""The server's life: everything is opened, wired, announced, and closed in turn."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from userservice.app import systemd
from userservice.app.access import Access, access_of
from userservice.app.access_log import AccessLogSettings, access_log
from userservice.app.auth import (
    OF_THIS_MACHINE,
    AuthSettings,
    authenticated,
    require_authentication,
)
from userservice.app.errors import ServeError
from userservice.app.listeners import opened_sockets
from userservice.app.own_middleware import load_middleware
from userservice.app.rates import RateSettings, caller_limits
from userservice.app.telemetry.settings import MetricsSettings, TracingSettings
from userservice.app.telemetry.told import Telemetry, telemetry
from userservice.rpc import Encoding, Keepalive, Lifetime, Limits, Server, Service, stop_signals
from userservice.rpc.health import OVERALL, Health, ServiceCheck, ServiceStatus, polled
from userservice.rpc.lifetime import FOR_EVER, SERVER_KEEPALIVE
from userservice.rpc.limits import DEFAULT_LIMITS
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.rates import RateError
from userservice.rpc.reflection import with_reflection
from userservice.rpc.tls import ServerTls, TlsError
from userservice.users.errors import StorageUnavailableError, StorageUnusableError
from userservice.users.feed import ChangeFeed, LocalFeed
from userservice.users.model import Change
from userservice.users.passwords import CORES, PasswordHasher
from userservice.users.service import UserService
from userservice.users.status import rpc_error
from userservice.users.storage.observer import StorageObserver
from userservice.users.storage.repository import UserRepository
from userservice.users.storage.urls import Repository, open_repository
from userservice.users.tokens import Tokens
from userservice.users.watch import user_topic

if TYPE_CHECKING:
    from userservice.rpc.channelz import Channelz

_CHECK_TTL_S = 1.0  # how old the answer about the database's health may be
_CHECK_TIMEOUT_S = 3.0
# For those who watch the health to hear NOT_SERVING: grpcio forgets a message that its
# program has not asked for yet when the connection ends right after.
_NOTICE_S = 0.1

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a server with TLS.

    Args:
        cert: its certificate, and those between it and its authority.
        key: the certificate's key.
        client_ca: the authorities of its clients; None where clients need no certificate.
    """

    cert: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How to serve.

    Args:
        host: the address or name to bind.
        port: the port; 0 for any free one.
        unix: the path of a Unix socket, in place of host and port.
        unix_mode: who may connect to it, as file permissions.
        tls: the files for TLS; None to speak without. A Unix socket never speaks it.
        database: the database's URL.
        limits: how much is taken of clients.
        lifetime: how long connections may live.
        keepalive: pings that find out which clients are gone.
        drain_timeout_s: how long calls under way may go on when the server stops, in seconds.
        compression: what replies are compressed with, where the client reads it.
        workers: how many processes serve.
        channelz: whether to serve channelz, which tells who asks the addresses of all peers.
        metrics: where metrics are shown; None for nowhere.
        tracing: which calls are traced, and where to; None for none.
        auth: who may call.
        access_log: how calls are logged.
        rates: how much callers may do.
        middleware: the operator's own, as ``module:Class``.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    unix: Path | None = None
    unix_mode: int = 0o600
    tls: TlsFiles | None = None
    database: str = "sqlite:///userservice.db"
    limits: Limits = DEFAULT_LIMITS
    lifetime: Lifetime = FOR_EVER
    keepalive: Keepalive = SERVER_KEEPALIVE
    drain_timeout_s: float = 30.0
    compression: Encoding | None = None
    workers: int = 1
    channelz: bool = False
    metrics: MetricsSettings | None = None
    tracing: TracingSettings | None = None
    auth: AuthSettings = OF_THIS_MACHINE
    access_log: AccessLogSettings = field(default_factory=AccessLogSettings)
    rates: RateSettings = field(default_factory=RateSettings)
    middleware: tuple[str, ...] = ()


async def serve(settings: ServeSettings, ready: Callable[[Sequence[str]], None]) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then drain: until calls are over, or one more signal.

    Args:
        settings: how to serve.
        ready: called with the addresses bound, as soon as calls are accepted.

    Raises:
        ServeError: the database or the address cannot be used.
    """
    with stop_signals() as stop:
        async with running_server(settings) as server:
            stop.now = server.close
            ready(server.addresses)
            log.info("serving", addresses=server.addresses)
            async with systemd.announced(f"serving on {', '.join(server.addresses)}"):
                await stop.asked.wait()
            log.info("stopping", drain_timeout_s=settings.drain_timeout_s)


@asynccontextmanager
async def running_server(settings: ServeSettings) -> AsyncIterator[Server]:
    """Run a server for as long as the block runs; drain it at the end.

    Raises:
        ServeError: the database or the address cannot be used.
    """
    tls = server_tls(settings)
    with listening_sockets(settings) as sockets:
        async with wired_server(settings, LocalFeed()) as server:
            await server.listen(sockets, tls)
            yield server


@contextmanager
def listening_sockets(settings: ServeSettings) -> Iterator[Sequence[socket.socket]]:
    """Open what the settings, or systemd, say to listen on; all is closed at the end.

    Raises:
        ServeError: an address cannot be listened on, or whoever reaches it could do everything.
    """
    mutual_tls = settings.tls is not None and settings.tls.client_ca is not None
    with opened_sockets(settings.host, settings.port, settings.unix, settings.unix_mode) as sockets:
        require_authentication(sockets, settings.auth, mutual_tls=mutual_tls)
        yield sockets


def server_tls(settings: ServeSettings) -> ServerTls | None:
    """Read the files for TLS, where the settings name some.

    Raises:
        ServeError: one cannot be used.
    """
    if settings.tls is None:
        return None
    try:
        return ServerTls(settings.tls.cert, settings.tls.key, settings.tls.client_ca)
    except TlsError as error:
        raise ServeError(str(error)) from error


@asynccontextmanager
async def wired_server(settings: ServeSettings, feed: ChangeFeed) -> AsyncIterator[Server]:
    """Open the database, and make a server that does not listen yet; drain it at the end.

    Args:
        settings: how to serve.
        feed: carries revisions to watchers, and chat to the room.

    Raises:
        ServeError: the database cannot be used, or metrics and traces cannot be had.
    """
    async with (
        telemetry(settings.metrics, settings.tracing) as told,
        _opened(settings.database, feed, told.storage) as repository,
    ):
        cores = max(1, CORES // settings.workers)
        with closing(PasswordHasher(cores)) as hasher:
            tokens = Tokens(await _secret(repository))
            users = UserService(repository, feed, hasher, tokens)
            async with (
                authenticated(settings.auth, repository) as auth,
                access_of(auth, repository, feed, hasher) as access,
                _wired(users, repository, access, settings, told) as server,
            ):
                yield server


async def _secret(repository: UserRepository) -> bytes:
    """Return the key of all tokens: the first thing that the database must give."""
    try:
        return await repository.secret("tokens")
    except StorageUnavailableError as error:
        raise ServeError(f"the database cannot be used: {error}") from error


@asynccontextmanager
async def _opened(
    url: str, feed: ChangeFeed, observer: StorageObserver | None
) -> AsyncIterator[Repository]:
    """Open the database, and let the feed carry its changes."""

    def publish(changes: Sequence[Change]) -> None:
        for change in changes:
            feed.publish(user_topic(change.user.id), change)

    try:
        repository = open_repository(url, publish, observer)
    except StorageUnusableError as error:
        raise ServeError(str(error)) from error
    try:
        yield repository
    finally:
        await repository.close()


@asynccontextmanager
async def _wired(
    users: UserService,
    repository: Repository,
    access: Access,
    settings: ServeSettings,
    told: Telemetry,
) -> AsyncIterator[Server]:
    """Wire the users with health, reflection, and what says who may call."""

    async def database_answers() -> bool:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await repository.ping()
        except (StorageUnavailableError, TimeoutError):
            return False
        return True

    database = ServiceCheck(database_answers, check_ttl=_CHECK_TTL_S)
    running = ServiceStatus()
    running.set(True)
    ours: list[Service] = [users, *access.services]
    checks = [database, running]
    health = Health({OVERALL: checks} | dict.fromkeys(ours, checks))
    services = [*ours, health]
    channelz = _channelz() if settings.channelz else None
    if channelz is not None:
        services.append(channelz)
    services = with_reflection(services)
    async with (
        _middleware(settings, services, access, told) as middleware,
        polled(database),
    ):
        server = Server(
            services,
            error_mapping=rpc_error,
            keepalive=settings.keepalive,
            lifetime=settings.lifetime,
            limits=settings.limits,
            compression=settings.compression,
            middleware=middleware,
        )
        if channelz is not None:
            channelz.add(server)
        try:
            async with told.shown(server):
                yield server
        finally:
            running.set(False)
            await asyncio.sleep(_NOTICE_S)
            await server.drain(settings.drain_timeout_s)


def _channelz() -> "Channelz":
    from userservice.rpc.channelz import Channelz  # noqa: PLC0415  # 20 ms, only where asked for

    return Channelz()


@asynccontextmanager
async def _middleware(
    settings: ServeSettings, services: Sequence[Service], access: Access, told: Telemetry
) -> AsyncIterator[Sequence[Middleware]]:
    """Make the middleware, the outermost first.

    Raises:
        ServeError: there is none by a name, or it cannot be used with these services.
    """
    async with AsyncExitStack() as running:
        try:
            limits = await running.enter_async_context(caller_limits(settings.rates, services))
        except RateError as error:
            raise ServeError(str(error)) from error
        own = load_middleware(settings.middleware)
        calls = await running.enter_async_context(access_log(settings.access_log))
        limited = (*limits.before, *access.authentication, *limits.after)
        within = (*told.metrics(services), *limited, *access.policy, *own)
        yield [*told.tracing(services), *calls, *within]
