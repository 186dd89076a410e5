"""Python source in the making: lines, their indentation, and the values they name.

Nothing that comes from a message class is written into source, but for field names that
`fields` found to be identifiers; all else is a value with a name made up here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """The source of one function, or of a few that belong together."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: list[str] = []
        self._indent = ""
        self._names: dict[str, Any] = {}

    def __str__(self) -> str:
        return "\n".join([f"# {self._title}", *self._lines])

    def line(self, *lines: str) -> None:
        """Write lines."""
        self._lines += [self._indent + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write a line, and what follows within it."""
        self.line(head)
        before = self._indent
        self._indent += "    "
        yield
        self._indent = before

    def name(self, name: str, value: Any) -> str:
        """Let the source call this value by this name, which is returned."""
        self._names[name] = value
        return name

    def name_later(self, name: str, get: Callable[[], Callable[..., Any]]) -> str:
        """Let the source call a function that is made when it is called first.

        Classes may contain each other: neither can wait for the other's function.
        """

        def first(*arguments: Any) -> Any:
            self._names[name] = function = get()
            return function(*arguments)

        return self.name(name, first)

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function of this name that the source makes."""
        exec(compile(str(self), f"<{self._title}>", "exec"), self._names)  # noqa: S102  # what it is for; see above
        function: Callable[..., Any] = self._names[name]
        return function
