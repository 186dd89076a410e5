"""``userservice doctor``."""

import asyncio
import logging
import ssl
import sys
from collections.abc import Callable
from contextlib import aclosing

import click

from userservice.app.cli import statuses
from userservice.app.cli.calls import Seconds
from userservice.app.cli.output import printable
from userservice.app.cli.tls import ClientTls, client_tls_options
from userservice.app.doctor import report
from userservice.app.doctor.examination import Question, Tls, examine
from userservice.app.doctor.findings import Finding, Mark
from userservice.rpc import TargetError

_COLORS = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red", Mark.SKIP: "dim"}


class MethodPath(click.ParamType[str]):
    """An option that takes the name of a method: package.Service/Method."""

    name = "method"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the method's path; fails where the name is none."""
        service, slash, method = value.removeprefix("/").partition("/")
        whole = service + method
        if not (slash and service and method and whole.isascii() and whole.isprintable()):
            self.fail(f"{value!r} is no method; one is like package.Service/Method.", param, ctx)
        return f"/{service}/{method}"


@click.command()
@click.argument(
    "address", default="127.0.0.1:50051", envvar="USERSERVICE_TARGET", metavar="[ADDRESS]"
)
@client_tls_options
@click.option(
    "--method",
    type=MethodPath(),
    metavar="NAME",
    help="Also call this method with an empty message: package.Service/Method.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How long each step may wait for the server.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
def doctor(
    *, address: str, tls: ClientTls | None, method: str | None, timeout_s: float, as_json: bool
) -> int:
    """Find out why a server cannot be called, or that all is well.

    ADDRESS is host:port, [v6]:port, or unix:path; any gRPC server may be there. Each step
    is a line: name, connection, TLS, HTTP/2, gRPC, health, reflection, latency. What is
    wrong is explained, with what to do about it. Ends with status 1 then.
    """
    # What libraries log would stand among the lines.
    logging.getLogger().addHandler(logging.NullHandler())
    if tls is not None:
        _refuse_mistakes(tls)
    question = Question(
        address,
        None
        if tls is None
        else Tls(tls.context, tls.server_name, shows_certificate=tls.cert is not None),
        method,
        timeout_s,
    )
    tell: Callable[[Finding], None] = (lambda _found: None) if as_json else _printer()
    try:
        findings = asyncio.run(_examined(question, tell))
    except TargetError as error:
        context = click.get_current_context()
        raise click.BadParameter(str(error), context, param_hint="'ADDRESS'") from error
    if as_json:
        click.echo(report.as_json(address, tls=tls is not None, findings=findings))
    else:
        click.echo(f"\n{printable(report.summary(findings))}")
    return statuses.DONE if report.is_well(findings) else statuses.UNWELL


def _refuse_mistakes(tls: ClientTls) -> None:
    """Fail where a file cannot be used, or a name is none, before anything is looked at."""
    nowhere = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls.context().wrap_bio(*nowhere, server_hostname=tls.server_name or "localhost")
    except ValueError as error:
        raise click.BadParameter(
            f"{tls.server_name!r} is no name of a server.",
            click.get_current_context(),
            param_hint="'--tls-server-name'",
        ) from error


async def _examined(question: Question, tell: Callable[[Finding], None]) -> list[Finding]:
    findings = []
    async with aclosing(examine(question)) as found_so_far:
        async for found in found_so_far:
            findings.append(found)
            tell(found)
    return findings


def _printer() -> Callable[[Finding], None]:
    """Return what prints a finding: in colors, and as wide as the terminal, if there is one."""
    return _terminal_printer() if sys.stdout.isatty() else _print_plainly


def _print_plainly(found: Finding) -> None:
    margin = " " * report.INDENT
    step, mark = found.step.ljust(report.STEP_WIDTH), found.mark.ljust(report.MARK_WIDTH)
    lines = [
        f"{step}  {mark}  {printable(found.text)}",
        *(f"{margin}{printable(line)}" for line in _explanation(found)),
    ]
    click.echo("\n".join(lines))


def _explanation(found: Finding) -> list[str]:
    """Return the lines below a finding."""
    parts = {"why": found.why, "mend": found.mend}
    return [f"{label + ':':<5} {text}" for label, text in parts.items() if text]


def _terminal_printer() -> Callable[[Finding], None]:
    # Rich is slow to import: only who has a terminal needs it.
    from rich.console import Console  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)

    def show(found: Finding) -> None:
        color = _COLORS[found.mark]
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=report.STEP_WIDTH)
        line.add_column(width=report.MARK_WIDTH)
        line.add_column(overflow="fold")
        style = "dim" if found.mark is Mark.SKIP else ""
        line.add_row(
            Text(found.step.value, style),
            Text(found.mark.value, color),
            Text(printable(found.text), style),
        )
        below = Table.grid(padding=(0, 1, 0, 0))
        for text in _explanation(found):
            label, _, rest = text.partition(":")
            below.add_row(Text(f"{label}:", "dim"), Text(printable(rest.strip())))
        with console.capture() as printed:
            console.print(line)
            if below.row_count:
                console.print(Padding(below, (0, 0, 0, report.INDENT)))
        # Click prints it: rich ends the program when nobody reads it, as in `... | head`.
        click.echo("\n".join(row.rstrip() for row in printed.get().splitlines()))

    return show
