"""``userservice signin``."""

import click

from userservice import AuthServiceClient, SignInRequest, SignInResponse, UserServiceClient
from userservice.app.cli.calls import (
    ServerAddress,
    address_options,
    json_option,
    run,
    timeout_option,
)
from userservice.app.cli.output import print_json, printable
from userservice.app.cli.passwords import read_password
from userservice.app.cli.reading import STANDARD_STREAM
from userservice.app.cli.token_options import plaintext_option
from userservice.rpc import TargetError
from userservice.rpc.target import stays_here


@click.command()
@click.option("--email", required=True, help="The email of the user.")
@click.option(
    "--password-file",
    default=STANDARD_STREAM,
    show_default=True,
    metavar="FILE",
    help="Its first line is the password; - for standard input, where a terminal asks for it.",
)
@plaintext_option
@timeout_option
@address_options
@json_option
def signin(
    *,
    email: str,
    password_file: str,
    allow_plaintext_token: bool,
    server: ServerAddress,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Sign in, and print an access token, for the --token-file of other commands.

    With --json, print all that the service answers: also the refresh token.
    """
    if server.tls is None and not allow_plaintext_token and not _stays_here(server.target):
        raise click.ClickException(
            f"the password would go to {server.target} without TLS: whoever is on the way could "
            "read it (see --tls, --allow-plaintext-token)"
        )
    request = SignInRequest(email=email, password=read_password(password_file))

    async def sign_in(client: UserServiceClient) -> SignInResponse:
        return await AuthServiceClient(client.channel, timeout_s=timeout_s).sign_in(request)

    answer = run(server, sign_in, timeout_s)
    if as_json:
        print_json(answer)
    else:
        click.echo(printable(answer.access_token))


def _stays_here(target: str) -> bool:
    try:
        return stays_here(target)
    except TargetError:
        return True  # it is told of where it is called
