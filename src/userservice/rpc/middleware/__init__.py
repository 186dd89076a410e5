"""Middleware: what sees every call of a server or a channel, one concern a file.

hooks                what a middleware may hear, and how several are composed
access_log           an entry for each call; line_writer writes it
rate_limits          how often a caller may call; rates reads how often, buckets count
concurrency_limit    how many calls a caller may have under way
load_shedding        no new calls while the event loop is late
callers              who a caller is
metrics              how many calls, how long, how large, by method and status
histogram            what times and sizes are counted in
tracing              a span for each call, and its context in and out
"""

from userservice.rpc.call import Call
from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware.hooks import AnyMiddleware, Outcome


class Middleware(AnyMiddleware[Call]):
    """Sees every call of a server: ``Server(..., middleware=[...])``."""


class ClientMiddleware(AnyMiddleware[ClientCall]):
    """Sees every call of a channel: ``connect(..., middleware=[...])``."""


__all__ = ["ClientMiddleware", "Middleware", "Outcome"]
