"""The command line: ``userservice serve``, ``users``, and the others.

A mistake is one line on standard error and a status, never a traceback;
``statuses.py`` says which.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from userservice.app.cli import statuses
from userservice.app.cli.output import complain
from userservice.rpc import RpcError

# Each is in the module of its name.
_COMMANDS = ("serve", "users", "chat", "tokens", "keys", "doctor")
_STANDARD_OUTPUT = 1
_STANDARD_ERROR = 2


class _Commands(click.Group):
    """Imports a command when it is asked for: the server's modules take longer than a call."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has enough, as in `userservice users list | head`.
            # Click would exit with 1.
            _abandon_output()
            return statuses.DONE


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=statuses.EXPLANATION,
)
@click.version_option(package_name="userservice", message="%(prog)s %(version)s")
def userservice() -> None:
    """Run and use a gRPC user service."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    _fill_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = userservice.main(arguments, prog_name="userservice", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return statuses.MISTAKE
    except click.ClickException as error:
        complain(_explain(error))
        return statuses.MISTAKE
    except RpcError as error:
        complain(str(error))
        return statuses.of_rpc_error(error)
    except click.Abort:
        return statuses.INTERRUPTED
    except OSError as error:
        # Our output cannot be written: a full disk, a lost terminal.
        complain(error.strerror or str(error))
        _abandon_output()
        return statuses.MISTAKE
    return status if isinstance(status, int) else statuses.DONE


def _abandon_output() -> None:
    """Lead standard output nowhere: the interpreter's last flush must not fail as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)


def _fill_standard_streams() -> None:
    """Open what is closed of 0 to 2: a connection must not get the number of a stream."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(number)


def _explain(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message} (see '{error.ctx.command_path} --help')"
    return message
