"""What is to be told of the service."""

from dataclasses import dataclass, replace

from userservice.app.errors import ServeError


class TelemetryError(ServeError):
    """What was asked for cannot be had."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where metrics are shown.

    Args:
        host: the address or name to listen on.
        port: the port; 0 for any free one.
    """

    host: str = "127.0.0.1"
    port: int = 0

    def of_worker(self, number: int) -> "MetricsSettings":
        """Return the settings of one of several processes, counted from 1: a port for each."""
        return self if self.port == 0 else replace(self, port=self.port + number - 1)


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Which calls are traced, and where to.

    Args:
        endpoint: the collector's URL, for OTLP over HTTP; None for what OpenTelemetry's own
            variables say.
        ratio: the share of traces that are kept, of those that begin here; None for what
            OpenTelemetry's own variables say, or all.
    """

    endpoint: str | None = None
    ratio: float | None = None
