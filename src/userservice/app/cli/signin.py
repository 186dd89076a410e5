"""``userservice signin``."""

import click

from userservice import AuthServiceClient, SignInRequest, SignInResponse, UserServiceClient
from userservice.app.cli.calls import (
    ServerAddress,
    json_option,
    run,
    server_options,
    timeout_option,
)
from userservice.app.cli.output import print_json, printable
from userservice.app.cli.passwords import read_password
from userservice.app.cli.reading import STANDARD_STREAM


@click.command()
@click.option("--email", required=True, help="The email of the user.")
@click.option(
    "--password-file",
    default=STANDARD_STREAM,
    show_default=True,
    metavar="FILE",
    help="Its first line is the password; - for standard input, where a terminal asks for it.",
)
@timeout_option
@server_options
@json_option
def signin(
    *, email: str, password_file: str, server: ServerAddress, timeout_s: float, as_json: bool
) -> None:
    """Sign in, and print an access token.

    With --json, print all that the service answers: also the refresh token.
    """
    request = SignInRequest(email=email, password=read_password(password_file))

    async def sign_in(client: UserServiceClient) -> SignInResponse:
        return await AuthServiceClient(client.channel, timeout_s=timeout_s).sign_in(request)

    answer = run(server, sign_in, timeout_s)
    if as_json:
        print_json(answer)
    else:
        click.echo(printable(answer.access_token))
