"""The options of ``userservice serve`` that say who may call."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from userservice.app.auth import OF_THIS_MACHINE, AuthSettings
from userservice.app.cli.numbers import Number
from userservice.app.cli.roles import CertificateRole
from userservice.app.cli.tls import with_options
from userservice.users.model import Role

C = TypeVar("C", bound=Callable[..., Any])

_PUBLIC_KEYS_MAX = 8  # each is tried for each new token

_OPTIONS = (
    click.option(
        "--auth",
        "auth_wanted",
        is_flag=True,
        envvar="USERSERVICE_AUTH",
        show_envvar=True,
        help="Each call must say who makes it: by a token, or a client certificate.",
    ),
    click.option(
        "--allow-unauthenticated",
        is_flag=True,
        envvar="USERSERVICE_ALLOW_UNAUTHENTICATED",
        show_envvar=True,
        help="Let all machines call without: whoever reaches the port may do everything.",
    ),
    click.option(
        "--jwt-public-key",
        "public_keys",
        type=click.Path(path_type=Path),
        multiple=True,
        envvar="USERSERVICE_JWT_PUBLIC_KEY",
        show_envvar=True,
        metavar="FILE",
        help="A PEM file: tokens that its private key has signed are taken; any number of times.",
    ),
    click.option(
        "--jwks-url",
        envvar="USERSERVICE_JWKS_URL",
        show_envvar=True,
        metavar="URL",
        help="Where an issuer of tokens publishes its keys: https, or http on this machine.",
    ),
    click.option(
        "--jwt-issuer",
        envvar="USERSERVICE_JWT_ISSUER",
        show_envvar=True,
        metavar="TEXT",
        help="Who must have signed the tokens of these keys: their claim iss.",
    ),
    click.option(
        "--jwt-audience",
        envvar="USERSERVICE_JWT_AUDIENCE",
        show_envvar=True,
        metavar="TEXT",
        help="For whom these tokens must be: their claim aud.",
    ),
    click.option(
        "--jwt-leeway",
        "leeway_s",
        type=Number(0, 300),
        default=OF_THIS_MACHINE.leeway_s,
        envvar="USERSERVICE_JWT_LEEWAY",
        show_default=True,
        show_envvar=True,
        metavar="SECONDS",
        help="How far the clocks of issuers may be from ours.",
    ),
    click.option(
        "--certificate-role",
        "certificates",
        type=CertificateRole(),
        multiple=True,
        envvar="USERSERVICE_CERTIFICATE_ROLE",
        show_envvar=True,
        help="What a client certificate may do, such as dns:backup.example.com=MODERATOR; "
        "any number of times.",
    ),
)


def auth_options(command: C) -> C:
    """Add --auth and its like; the command gets them as ``auth``: AuthSettings."""

    @functools.wraps(command)
    def with_auth(
        *arguments: Any,
        auth_wanted: bool,
        allow_unauthenticated: bool,
        public_keys: tuple[Path, ...],
        jwks_url: str | None,
        jwt_issuer: str | None,
        jwt_audience: str | None,
        leeway_s: float,
        certificates: tuple[tuple[str, Role], ...],
        **others: Any,
    ) -> Any:
        settings = AuthSettings(
            wanted=auth_wanted,
            left_out=allow_unauthenticated,
            public_keys=public_keys,
            jwks_url=jwks_url,
            issuer=jwt_issuer,
            audience=jwt_audience,
            leeway_s=leeway_s,
            certificates=certificates,
        )
        fault = _fault(settings)
        if fault is not None:
            raise click.UsageError(fault, click.get_current_context())
        return command(*arguments, auth=settings, **others)

    return with_options(cast("C", with_auth), _OPTIONS)


def _fault(settings: AuthSettings) -> str | None:
    """Return what does not go together."""
    of_others = bool(settings.public_keys) or settings.jwks_url is not None
    named = settings.issuer is not None and settings.audience is not None
    some_named = settings.issuer is not None or settings.audience is not None
    if settings.wanted and settings.left_out:
        return "--auth and --allow-unauthenticated do not go together."
    if (of_others or some_named) and not settings.wanted:
        return "--jwt-public-key, --jwks-url, --jwt-issuer and --jwt-audience need --auth."
    if settings.certificates and not settings.wanted:
        return "--certificate-role needs --auth."
    if of_others != some_named or (of_others and not named):
        return (
            "Keys of others (--jwt-public-key, --jwks-url) need both --jwt-issuer and "
            "--jwt-audience, which need such keys."
        )
    if len(settings.public_keys) > _PUBLIC_KEYS_MAX:
        return f"--jwt-public-key may be given {_PUBLIC_KEYS_MAX} times at most."
    return None
