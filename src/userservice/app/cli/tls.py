"""The options of TLS of the commands that call a server."""

import functools
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from userservice.rpc.tls import TlsError, client_context

C = TypeVar("C", bound=Callable[..., Any])


def with_options(command: C, options: Iterable[Callable[[C], C]]) -> C:
    """Add options to a command, in their order."""
    for option in reversed(tuple(options)):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a server with TLS is called.

    Args:
        ca: the authorities that its certificate may be of; None for the system's.
        cert: the client's own certificate.
        key: its key.
        server_name: the name that the server's certificate is for; None for the target's.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection.

        Raises:
            ClickException: a file cannot be used.
        """
        try:
            return client_context(self.ca, self.cert, self.key)
        except TlsError as error:
            raise click.ClickException(str(error)) from error


_CLIENT_OPTIONS = (
    click.option(
        "--tls",
        "tls_wanted",
        is_flag=True,
        envvar="USERSERVICE_TLS",
        show_envvar=True,
        help="Call the server with TLS; the options below mean it too.",
    ),
    click.option(
        "--tls-ca",
        envvar="USERSERVICE_TLS_CA",
        show_envvar=True,
        metavar="FILE",
        help="The authorities that its certificate may be of; the system's by default.",
    ),
    click.option(
        "--tls-client-cert",
        envvar="USERSERVICE_TLS_CLIENT_CERT",
        show_envvar=True,
        metavar="FILE",
        help="A certificate of your own, for a server that asks for one.",
    ),
    click.option(
        "--tls-client-key",
        envvar="USERSERVICE_TLS_CLIENT_KEY",
        show_envvar=True,
        metavar="FILE",
        help="The key of that certificate.",
    ),
    click.option(
        "--tls-server-name",
        envvar="USERSERVICE_TLS_SERVER_NAME",
        show_envvar=True,
        metavar="NAME",
        help="The name that the server's certificate is for, where its address has another.",
    ),
)


def client_tls_options(command: C) -> C:
    """Add --tls and its like; the command gets them as ``tls``: a ClientTls, or None."""

    @functools.wraps(command)
    def with_tls(
        *arguments: Any,
        tls_wanted: bool,
        tls_ca: str | None,
        tls_client_cert: str | None,
        tls_client_key: str | None,
        tls_server_name: str | None,
        **others: Any,
    ) -> Any:
        if (tls_client_cert is None) != (tls_client_key is None):
            raise click.UsageError(
                "--tls-client-cert and --tls-client-key go together.", click.get_current_context()
            )
        tls = ClientTls(tls_ca, tls_client_cert, tls_client_key, tls_server_name)
        wanted = tls_wanted or tls != ClientTls()
        return command(*arguments, tls=tls if wanted else None, **others)

    return with_options(cast("C", with_tls), _CLIENT_OPTIONS)
