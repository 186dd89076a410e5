"""The options of TLS of ``userservice serve``."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from userservice.app.cli.tls import with_options
from userservice.app.serve import TlsFiles

C = TypeVar("C", bound=Callable[..., Any])

_SERVER_OPTIONS = (
    click.option(
        "--tls-cert",
        envvar="USERSERVICE_TLS_CERT",
        show_envvar=True,
        metavar="FILE",
        help="The server's certificate, and those up to its authority: TLS is spoken then.",
    ),
    click.option(
        "--tls-key",
        envvar="USERSERVICE_TLS_KEY",
        show_envvar=True,
        metavar="FILE",
        help="The key of that certificate.",
    ),
    click.option(
        "--tls-client-ca",
        envvar="USERSERVICE_TLS_CLIENT_CA",
        show_envvar=True,
        metavar="FILE",
        help="The authorities of clients: each client needs a certificate of one then.",
    ),
)


def server_tls_options(command: C) -> C:
    """Add --tls-cert and its like; the command gets them as ``tls``: TlsFiles, or None."""

    @functools.wraps(command)
    def with_tls(
        *arguments: Any,
        tls_cert: str | None,
        tls_key: str | None,
        tls_client_ca: str | None,
        **others: Any,
    ) -> Any:
        context = click.get_current_context()
        if (tls_cert is None) != (tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key go together.", context)
        if tls_cert is None or tls_key is None:
            if tls_client_ca is not None:
                raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key.", context)
            return command(*arguments, tls=None, **others)
        return command(*arguments, tls=TlsFiles(tls_cert, tls_key, tls_client_ca), **others)

    return with_options(cast("C", with_tls), _SERVER_OPTIONS)
