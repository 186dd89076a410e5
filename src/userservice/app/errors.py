"""Why the service does not start: what the command line says in one line."""


class ServeError(Exception):
    """The service cannot be served with these settings; the text is one line."""
