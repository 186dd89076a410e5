"""Numbers in options."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number in a range; click's own lets ``nan`` by, which is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; fails where it is none."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number
