"""Limits, as operators write them: ``--peer-limit max_connections=100``."""

from collections.abc import Iterable
from dataclasses import fields, replace

import click

from userservice.rpc import Limits

_TYPES = {field.name: type(getattr(Limits(), field.name)) for field in fields(Limits)}
_TYPES["max_call_s"] = float  # None, where it is not set

Limit = tuple[str, int | float]


class LimitValue(click.ParamType[Limit]):
    """An option that takes the name of a limit and its value."""

    name = "limit"

    def convert(
        self, value: Limit | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Limit:
        """Return name and value; fails where the name is none, or the value is."""
        if not isinstance(value, str):
            return value
        name, _, text = value.partition("=")
        if name not in _TYPES:
            self.fail(f"{name!r} is no limit; one is {', '.join(_TYPES)}.", param, ctx)
        try:
            limit: Limit = (name, _TYPES[name](text))
            limits_of([limit])
        except ValueError:
            number = "a whole number" if _TYPES[name] is int else "a number"
            self.fail(f"{value!r}: {name} is {number}, 0 or more.", param, ctx)
        return limit

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for the value in a help text."""
        del param, ctx
        return "NAME=NUMBER"


def limits_of(chosen: Iterable[Limit]) -> Limits:
    """Return the limits with those that were chosen.

    Raises:
        ValueError: one is out of range.
    """
    values: dict[str, int | float] = dict(chosen)
    limits: Limits = replace(Limits(), **values)  # type: ignore[arg-type]  # each has its own type, by _TYPES
    return limits
