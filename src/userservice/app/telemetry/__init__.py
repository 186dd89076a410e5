"""What the service tells of itself to machines: metrics on a page, traces to a collector.

    settings   what is asked for
    told       both, from the opening of the storage to the end of the last call
    meters     what is measured in one process
    page       the page that shows it
    tracing    where spans go

Nothing of prometheus_client or OpenTelemetry is imported before it is asked for.
"""
