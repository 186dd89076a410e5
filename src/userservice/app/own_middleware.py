"""The operator's own middleware, by its name: ``module:Class``."""

import importlib
import sys
from collections.abc import Iterable

from userservice.app.errors import ServeError
from userservice.rpc.middleware import Middleware


class MiddlewareError(ServeError):
    """A name is not that of a middleware."""


def load_middleware(names: Iterable[str]) -> list[Middleware]:
    """Return an object of each class that is named.

    Args:
        names: ``module:Class``; modules are also looked for in the working folder. The class
            takes no arguments.

    Raises:
        MiddlewareError: there is no such module or class, or it is no middleware, or cannot be
            made; its text says which.
    """
    return [_load(name) for name in names]


def _load(name: str) -> Middleware:
    module_name, _, class_name = name.partition(":")
    if not (module_name and class_name):
        raise MiddlewareError(f"{name!r} names no middleware; write module:Class")
    if "" not in sys.path:
        # The working folder comes last: nothing in it takes the place of what is installed.
        sys.path.append("")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a module may raise when it is run
        raise MiddlewareError(f"{module_name} cannot be imported: {_told(error)}") from error
    kind = getattr(module, class_name, None)
    if kind is None:
        raise MiddlewareError(f"{module_name} has no {class_name}")
    if not (isinstance(kind, type) and issubclass(kind, Middleware)):
        raise MiddlewareError(f"{name} is no Middleware, as userservice.rpc.middleware has it")
    try:
        return kind()
    except Exception as error:  # likewise
        raise MiddlewareError(f"{name} cannot be made: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return what is wrong, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
