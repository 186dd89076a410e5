"""Our server with constant handlers, and with all middleware that knows no user."""

import asyncio

from tests.bench.servers import everything
from tests.bench.servers.betterproto_handlers import Constant

from userservice.app.access_log import AccessLogSettings, access_log
from userservice.app.logs import LogFormat
from userservice.rpc import Server
from userservice.rpc.jwt import HS256, JwtVerifier, Keys, VerifyingKey
from userservice.rpc.middleware.authentication import Authentication, Jwts
from userservice.rpc.middleware.metrics import ServerMetrics
from userservice.rpc.middleware.rate_limits import RateTable, around_authentication
from userservice.rpc.middleware.rates import Rate
from userservice.rpc.middleware.tracing import ServerTracing


async def main() -> None:
    """Serve until the process is ended."""
    services = [Constant()]
    keys = Keys([VerifyingKey(everything.KID, HS256, everything.KEY)])
    verifier = JwtVerifier(keys, issuer=everything.ISSUER, audience=everything.AUDIENCE)
    rates = RateTable([Rate("*", everything.PER_S, everything.BURST)])
    limits_before, limits_after = around_authentication(rates)
    async with access_log(AccessLogSettings(on=True, log_format=LogFormat.JSON)) as logged:
        # As `userservice serve` has them.
        server = Server(
            services,
            middleware=[
                ServerTracing(services, everything.tracer_provider()),
                *logged,
                ServerMetrics(services),
                *limits_before,
                Authentication([Jwts([verifier])], domain="bench"),
                *limits_after,
            ],
        )
        await server.start("127.0.0.1", 0)
        print("READY", server.addresses[0].rpartition(":")[2], flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
