"""The options of metrics and traces."""

import functools
import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import click

from userservice.app.cli.numbers import Number
from userservice.app.telemetry.settings import MetricsSettings, TracingSettings

# OpenTelemetry's own, for every program of a machine; its exporter reads them.
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class _CollectorUrl(click.ParamType[str]):
    """An option that takes where a collector listens."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            url = urlsplit(value)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable:
            # Without the URL itself: it may hold a password.
            self.fail("it is the URL of a collector, such as http://127.0.0.1:4318.", param, ctx)
        return value


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of metrics; the command gets them as ``metrics``, None for none."""

    @click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        envvar="USERSERVICE_METRICS_PORT",
        show_envvar=True,
        help="Show metrics at /metrics on this port, 0 for any free one; nowhere by default.",
    )
    @click.option(
        "--metrics-host",
        default=MetricsSettings().host,
        envvar="USERSERVICE_METRICS_HOST",
        show_default=True,
        show_envvar=True,
        help="The address or name to show them on.",
    )
    @functools.wraps(command)
    def with_metrics(
        *args: Any, metrics_port: int | None, metrics_host: str, **options: Any
    ) -> Any:
        metrics = None if metrics_port is None else MetricsSettings(metrics_host, metrics_port)
        return command(*args, metrics=metrics, **options)

    return with_metrics


def tracing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of traces; the command gets them as ``tracing``, None for none."""

    @click.option(
        "--otlp-endpoint",
        type=_CollectorUrl(),
        envvar="USERSERVICE_OTLP_ENDPOINT",
        show_envvar=True,
        metavar="URL",
        help="Send traces to this collector, with OTLP over HTTP; needs userservice[otlp].",
    )
    @click.option(
        "--trace-ratio",
        type=Number(0, 1),
        envvar="USERSERVICE_TRACE_RATIO",
        show_envvar=True,
        metavar="RATIO",
        help="The share of traces to keep, of those that begin here; all by default.",
    )
    @functools.wraps(command)
    def with_tracing(
        *args: Any, otlp_endpoint: str | None, trace_ratio: float | None, **options: Any
    ) -> Any:
        tracing = None
        if otlp_endpoint or any(os.environ.get(name) for name in _ENDPOINTS):
            tracing = TracingSettings(otlp_endpoint or None, trace_ratio)
        return command(*args, tracing=tracing, **options)

    return with_tracing
