"""Middleware: what sees every call of a server or a channel, one concern a file.

hooks    what a middleware may hear, and how those of a server are composed
"""

from userservice.rpc.middleware.hooks import Middleware, Outcome

__all__ = ["Middleware", "Outcome"]
